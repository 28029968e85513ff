/** The page: buttons, files, camera, and what they set going. */

import { Camera } from "./camera";
import { Classifier } from "./classify";
import { Detector } from "./detect";
import { follow, read } from "./follow";
import { buildBars, element, inWords, say, sayError } from "./panel";
import { openPicture } from "./picture";
import { middle, recognize, recognizeSquares, type Seen } from "./recognize";
import { fetched } from "./runtime";
import { saveNumbers, savePicture } from "./save";
import { Show } from "./show";

const DRAWN = ["drawn/several.png", "drawn/one.png", "drawn/many.png"];

class Page {
  private readonly show = new Show(() => this.classifier.facts);
  private readonly camera = new Camera(element("video", HTMLVideoElement), () => {
    this.turn++;
    this.dress();
    say("the camera was lost; plug it in and press Camera again", true);
  });
  private pictures: File[] = [];
  private at = 0;
  private paused = false;
  /** Counts what was asked for, so that what has been overtaken ends. */
  private turn = 0;

  constructor(
    private readonly detector: Detector,
    public classifier: Classifier,
  ) {
    this.connect();
    this.useNetwork(classifier);
  }

  /** Judges faces from now on with another network, and again what is on the page. */
  useNetwork(classifier: Classifier): void {
    this.classifier = classifier;
    const { arch, run, classes, hasMaps } = classifier.facts;
    buildBars(classes);
    element("network", HTMLElement).textContent = `${arch}, run ${run}`;
    Object.assign(element("maps", HTMLInputElement), { disabled: !hasMaps, checked: false });
    this.show.set([]);
    if (this.pictures.length && !this.camera.isOn) this.showPicture(this.at);
  }

  private connect(): void {
    const press = (id: string, action: () => unknown) =>
      element(id, HTMLButtonElement).addEventListener("click", async () => {
        try {
          await action();
        } catch (error) {
          sayError(error);
        }
      });
    press("choose", () => element("files", HTMLInputElement).click());
    press("draw", () => this.openDrawn());
    press("camera", () => (this.camera.isOn ? this.stopCamera() : this.watch()));
    press("pause", () => this.pause(!this.paused));
    press("previous", () => this.showPicture(this.at - 1));
    press("next", () => this.showPicture(this.at + 1));
    press("whole", () => this.judgeWhole());
    press("save-picture", () => savePicture(this.show.stage, this.show.name));
    press("save-numbers", () =>
      saveNumbers(this.show.stage, this.show.name, this.show.readings, this.classifier.facts),
    );
    press("choose-network", () => element("network-file", HTMLInputElement).click());
    this.takeFiles();
    // The camera is off as soon as nobody can see the page.
    addEventListener("pagehide", () => this.stopCamera());
    document.addEventListener("visibilitychange", () => document.hidden && this.stopCamera());
  }

  private takeFiles(): void {
    const files = element("files", HTMLInputElement);
    files.addEventListener("change", () => {
      this.open([...(files.files ?? [])]);
      files.value = "";
    });
    const network = element("network-file", HTMLInputElement);
    network.addEventListener("change", async () => {
      const [file] = network.files ?? [];
      network.value = "";
      if (file) await this.openNetwork(file);
    });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      this.open([...(event.dataTransfer?.files ?? [])]);
    });
    addEventListener("paste", (event) => this.open([...(event.clipboardData?.files ?? [])]));
  }

  private async openNetwork(file: File): Promise<void> {
    try {
      const another = await Classifier.open(new Uint8Array(await file.arrayBuffer()), file.name);
      const before = this.classifier;
      this.useNetwork(another);
      await before.close();
      say(`faces are now judged by ${file.name}`);
    } catch (error) {
      sayError(error);
    }
  }

  private async openDrawn(): Promise<void> {
    const get = async (path: string) => new File([await (await fetch(path)).blob()], path.replace("/", "-"));
    await this.open(await Promise.all(DRAWN.map(get)));
  }

  private async open(files: File[]): Promise<void> {
    if (!files.length) return;
    this.stopCamera();
    this.pictures = files;
    await this.showPicture(0);
  }

  private async showPicture(number: number): Promise<void> {
    const turn = ++this.turn;
    this.at = (number + this.pictures.length) % this.pictures.length;
    const file = this.pictures[this.at];
    this.dress();
    say("looking for faces …");
    try {
      const picture = await openPicture(file);
      if (turn !== this.turn) return;
      this.show.put(picture, picture.width, picture.height, file.name.replace(/\.\w+$/, ""));
      picture.close();
      this.show.set([]);
      const seen = await recognize(this.show.picture, this.detector, this.classifier, true);
      if (turn !== this.turn) return;
      this.show.set(seen);
      element("whole", HTMLButtonElement).hidden = seen.length > 0;
      say(seen.length ? inWords(seen, this.classifier.facts.classes) : `no face found in ${file.name}`);
    } catch (error) {
      if (turn === this.turn) sayError(error);
    }
  }

  private async judgeWhole(): Promise<void> {
    const { picture } = this.show;
    const seen = await recognizeSquares(picture, [middle(picture.canvas)], this.classifier);
    this.show.set(seen);
    say(`the whole picture taken as one face: ${inWords(seen, this.classifier.facts.classes)}`);
  }

  private async watch(): Promise<void> {
    const turn = ++this.turn;
    say("waiting for the camera …");
    await this.camera.start();
    this.pictures = [];
    this.pause(false);
    say("camera on; its pictures stay in this page");
    const { video } = this.camera;
    let before: Seen[] = [];
    const pace = new Pace();
    while (turn === this.turn && (await this.camera.next())) {
      if (this.paused) continue;
      const begun = performance.now();
      this.show.put(video, video.videoWidth, video.videoHeight, "camera");
      const now = await recognize(this.show.picture, this.detector, this.classifier, false);
      if (turn !== this.turn) return;
      before = now.map((seen) => ({ ...seen, ...follow(before, seen, this.classifier.facts.unsureBelow) }));
      this.show.set(before);
      pace.tick(begun);
    }
  }

  private stopCamera(): void {
    if (!this.camera.isOn) return;
    this.turn++;
    this.camera.stop();
    say("the camera is off");
    this.dress();
  }

  private pause(paused: boolean): void {
    this.paused = paused;
    this.dress();
  }

  /** Shows the buttons that can be used now. */
  private dress(): void {
    const on = this.camera.isOn;
    element("camera", HTMLButtonElement).textContent = on ? "Camera off" : "Camera";
    element("pause", HTMLButtonElement).hidden = !on;
    element("pause", HTMLButtonElement).textContent = this.paused ? "Go on" : "Pause";
    element("pace", HTMLElement).hidden = !on;
    element("whole", HTMLButtonElement).hidden = true;
    for (const id of ["previous", "next"]) element(id, HTMLButtonElement).hidden = on || this.pictures.length < 2;
  }
}

/** Pictures a second, over the last second. */
class Pace {
  private ends: number[] = [];

  tick(begun: number): void {
    const now = performance.now();
    this.ends = [...this.ends.filter((end) => now - end < 1000), now];
    element("pace", HTMLElement).textContent =
      `${this.ends.length} pictures a second, ${Math.round(now - begun)} ms each`;
  }
}

async function start(): Promise<void> {
  const path = new URLSearchParams(location.search).get("model") ?? "model.onnx";
  const [detector, classifier] = await Promise.all([
    Detector.load(),
    fetched(path).then((file) => Classifier.open(file, path)),
  ]);
  Object.assign(globalThis, { page: new Page(detector, classifier), recognizeSquares, read, follow }); // for tests
  for (const button of document.querySelectorAll<HTMLButtonElement>("#sources button")) button.disabled = false;
  say("ready");
  performance.mark("ready");
  navigator.serviceWorker?.register("offline.js").catch(() => say("ready, but not without a network"));
}

start().catch(sayError);
