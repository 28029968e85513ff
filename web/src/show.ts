/** What stands on the page now: one picture, its faces, and which of them is looked at. */

import { drawScene, type View } from "./draw";
import type { NetworkFacts } from "./facts";
import { element, showReading, showWhich } from "./panel";
import type { Size } from "./picture";
import type { Seen } from "./recognize";

const context = (canvas: OffscreenCanvas) => {
  const found = canvas.getContext("2d", { willReadFrequently: true });
  if (!found) throw new Error("this browser gives no canvas to draw on");
  return found;
};

const SAVED_SIDE = 960; // small pictures are enlarged before lines and letters are drawn on them

export class Show {
  /** Where faces are cut out: the picture without anything drawn on it. */
  readonly picture = context(new OffscreenCanvas(1, 1));
  /** Of the original, which may be larger than `picture`. */
  size: Size = { width: 1, height: 1 };
  name = "";
  readings: Seen[] = [];
  private chosen = 0;
  private readonly stage = element("stage", HTMLCanvasElement);
  private readonly mapped = element("maps", HTMLInputElement);

  constructor(private readonly facts: () => NetworkFacts) {
    this.mapped.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(element("frame", HTMLElement));
    this.stage.addEventListener("click", (event) => this.chooseAt(event.offsetX, event.offsetY));
    element("earlier", HTMLButtonElement).addEventListener("click", () => this.choose(this.chosen - 1));
    element("later", HTMLButtonElement).addEventListener("click", () => this.choose(this.chosen + 1));
  }

  /**
   * Puts a picture up, without faces yet.
   *
   * @param size - of the original, where that is larger.
   */
  put(picture: CanvasImageSource, width: number, height: number, name: string, size: Size = { width, height }): void {
    const { canvas } = this.picture;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.picture.fillStyle = "#fff"; // what shows through where a picture is transparent
    this.picture.fillRect(0, 0, width, height);
    this.picture.drawImage(picture, 0, 0, width, height);
    this.size = size;
    this.name = name;
    document.body.classList.add("showing");
  }

  /** Takes the picture and what was said of it away. */
  clear(): void {
    this.name = "";
    document.body.classList.remove("showing");
    this.set([]);
  }

  /** Draws what has been found in the picture. */
  set(readings: Seen[]): void {
    this.readings = readings;
    this.choose(Math.min(this.chosen, Math.max(0, readings.length - 1)));
  }

  /** The picture with boxes, as the stage shows it, at its own size or enlarged. */
  drawn(): HTMLCanvasElement {
    const { width, height } = this.picture.canvas;
    const longest = Math.max(width, height);
    const scale = Math.max(1, SAVED_SIDE / longest);
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    this.drawOn(canvas, { left: 0, top: 0, scale, unit: (longest * scale) / SAVED_SIDE });
    return canvas;
  }

  private draw(): void {
    const { clientWidth, clientHeight } = this.stage;
    const [width, height] = [clientWidth, clientHeight].map((length) => Math.round(length * devicePixelRatio));
    if (this.stage.width !== width || this.stage.height !== height) Object.assign(this.stage, { width, height });
    this.drawOn(this.stage, this.view());
  }

  private drawOn(canvas: HTMLCanvasElement, view: View): void {
    const { readings, chosen, picture } = this;
    const maps = readings.map((reading) => (this.mapped.checked ? reading.maps : null));
    const target = canvas.getContext("2d");
    if (!target) return;
    drawScene(target, { picture: picture.canvas, readings, classes: this.facts().classes, chosen, maps }, view);
  }

  /** The whole picture in the middle of the stage, in pixels of the screen. */
  private view(): View {
    const { canvas } = this.picture;
    const scale = Math.min(this.stage.width / canvas.width, this.stage.height / canvas.height);
    return {
      left: (this.stage.width - canvas.width * scale) / 2,
      top: (this.stage.height - canvas.height * scale) / 2,
      scale,
      unit: devicePixelRatio,
    };
  }

  private choose(number: number): void {
    const { length } = this.readings;
    this.chosen = length ? (number + length) % length : 0;
    showReading(this.readings[this.chosen], this.facts().classes);
    showWhich("faces", "face", this.chosen, length);
    for (const id of ["save-picture", "save-numbers"]) element(id, HTMLButtonElement).disabled = !this.name;
    this.draw();
  }

  /** Chooses the face at a place of the stage, in CSS pixels. */
  private chooseAt(across: number, down: number): void {
    const { left, top, scale } = this.view();
    const x = (across * devicePixelRatio - left) / scale;
    const y = (down * devicePixelRatio - top) / scale;
    const inside = ({ box }: Seen) =>
      x >= box.left && x <= box.left + box.side && y >= box.top && y <= box.top + box.side;
    const hit = this.readings.findIndex(inside);
    if (hit >= 0) this.choose(hit);
  }
}
