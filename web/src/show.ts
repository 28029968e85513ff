/** What stands on the page now: one picture, its faces, and which of them is looked at. */

import { drawScene } from "./draw";
import type { NetworkFacts } from "./facts";
import { element, showReading } from "./panel";
import type { Seen } from "./recognize";

const context = (canvas: OffscreenCanvas) => {
  const found = canvas.getContext("2d", { willReadFrequently: true });
  if (!found) throw new Error("this browser gives no canvas to draw on");
  return found;
};

export class Show {
  /** Where faces are cut out: the picture without anything drawn on it. */
  readonly picture = context(new OffscreenCanvas(1, 1));
  readonly stage = element("stage", HTMLCanvasElement);
  name = "";
  readings: Seen[] = [];
  private chosen = 0;
  private readonly mapped = element("maps", HTMLInputElement);

  constructor(private readonly facts: () => NetworkFacts) {
    this.mapped.addEventListener("change", () => this.draw());
    addEventListener("resize", () => this.draw());
    this.stage.addEventListener("click", (event) => this.chooseAt(event));
    element("earlier", HTMLButtonElement).addEventListener("click", () => this.choose(this.chosen - 1));
    element("later", HTMLButtonElement).addEventListener("click", () => this.choose(this.chosen + 1));
  }

  /** Puts a picture up, without faces yet. */
  put(picture: CanvasImageSource, width: number, height: number, name: string): void {
    if (this.picture.canvas.width !== width || this.picture.canvas.height !== height) {
      Object.assign(this.picture.canvas, { width, height });
      Object.assign(this.stage, { width, height });
    }
    this.picture.fillStyle = "#fff"; // what shows through where a picture is transparent
    this.picture.fillRect(0, 0, width, height);
    this.picture.drawImage(picture, 0, 0, width, height);
    this.name = name;
    document.body.classList.add("showing");
  }

  /** Draws what has been found in the picture. */
  set(readings: Seen[]): void {
    this.readings = readings;
    this.choose(Math.min(this.chosen, Math.max(0, readings.length - 1)));
  }

  draw(): void {
    const stage = this.stage.getContext("2d");
    if (!stage) return;
    const { readings, chosen, picture } = this;
    const maps = readings.map((reading) => (this.mapped.checked ? reading.maps : null));
    drawScene(stage, { picture: picture.canvas, readings, classes: this.facts().classes, chosen, maps });
  }

  private choose(number: number): void {
    const { length } = this.readings;
    this.chosen = length ? (number + length) % length : 0;
    const which = length > 1 ? `${this.chosen + 1} of ${length}` : "";
    showReading(this.readings[this.chosen], this.facts().classes, which);
    for (const id of ["earlier", "later"]) element(id, HTMLButtonElement).disabled = length < 2;
    for (const id of ["save-picture", "save-numbers"]) element(id, HTMLButtonElement).disabled = !this.name;
    this.draw();
  }

  private chooseAt(event: MouseEvent): void {
    const scale = this.stage.width / this.stage.clientWidth;
    const [x, y] = [event.offsetX * scale, event.offsetY * scale];
    const inside = (seen: Seen) =>
      x >= seen.box.left &&
      x <= seen.box.left + seen.box.side &&
      y >= seen.box.top &&
      y <= seen.box.top + seen.box.side;
    const hit = this.readings.findIndex(inside);
    if (hit >= 0) this.choose(hit);
  }
}
