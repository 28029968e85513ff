/** The page: buttons, files, camera, and what they set going. */

import { Camera } from "./camera";
import { Classifier } from "./classify";
import { Detector } from "./detect";
import { follow, read } from "./follow";
import { buildBars, element, inWords, say, sayError, showWhich } from "./panel";
import { openPicture } from "./picture";
import { middle, recognize, recognizeSquares } from "./recognize";
import { fetched } from "./runtime";
import { saveNumbers, savePicture } from "./save";
import { Show } from "./show";

const DRAWN = ["drawn/several.png", "drawn/one.png", "drawn/many.png"];

class Page {
  private readonly show = new Show(() => this.classifier.facts);
  private readonly camera = new Camera(element("video", HTMLVideoElement), () =>
    this.stopCamera("the camera was lost; plug it in and press Camera again", true),
  );
  private pictures: File[] = [];
  private at = 0;
  /** Whether the camera is wanted: on, or asked for. */
  private watching = false;
  private paused = false;
  /** What was asked for last; what is asked for next ends it. */
  private task = new AbortController();
  private last: Promise<unknown> = Promise.resolve();
  /** The file of the network that was asked for last. */
  private wanted?: File;

  constructor(
    private readonly detector: Detector,
    private classifier: Classifier,
  ) {
    this.connect();
    this.useNetwork(classifier);
  }

  /** Judges faces from now on with another network. */
  private useNetwork(classifier: Classifier): void {
    this.classifier = classifier;
    const { arch, run, classes, hasMaps } = classifier.facts;
    buildBars(classes);
    element("network", HTMLElement).textContent = arch;
    element("run", HTMLElement).textContent = run;
    Object.assign(element("maps", HTMLInputElement), { disabled: !hasMaps, checked: false });
    this.show.set([]);
  }

  /** Ends what was asked for before. */
  private begin(): AbortSignal {
    this.stopCamera();
    this.task.abort();
    this.task = new AbortController();
    return this.task.signal;
  }

  /** One job after the other, so that no picture and no network is changed under one that is at work with it. */
  private inTurn<T>(job: () => Promise<T>): Promise<T> {
    const done = this.last.then(job);
    this.last = done.catch(() => {});
    return done;
  }

  private connect(): void {
    const press = (id: string, action: () => unknown) =>
      element(id, HTMLButtonElement).addEventListener("click", () => attempt(action));
    press("choose", () => element("files", HTMLInputElement).click());
    press("draw", () => this.openDrawn());
    press("camera", () => (this.watching ? this.stopCamera() : this.watch()));
    press("pause", () => this.pause(!this.paused));
    press("previous", () => this.showPicture(this.at - 1));
    press("next", () => this.showPicture(this.at + 1));
    press("whole", () => this.judgeWhole());
    press("save-picture", () => savePicture(this.show));
    press("save-numbers", () => saveNumbers(this.show, this.classifier.facts));
    press("choose-network", () => element("network-file", HTMLInputElement).click());
    this.takeFiles();
    // The camera is off as soon as nobody can see the page.
    addEventListener("pagehide", () => this.stopCamera());
    document.addEventListener("visibilitychange", () => document.hidden && this.stopCamera());
  }

  private takeFiles(): void {
    const files = element("files", HTMLInputElement);
    files.addEventListener("change", () => {
      const chosen = [...(files.files ?? [])];
      files.value = "";
      attempt(() => this.open(chosen));
    });
    const network = element("network-file", HTMLInputElement);
    network.addEventListener("change", () => {
      const [file] = network.files ?? [];
      network.value = "";
      if (file) attempt(() => this.openNetwork(file));
    });
    const take = (given: DataTransfer | null) => {
      const taken = [...(given?.files ?? [])];
      const another = taken.find((file) => file.name.toLowerCase().endsWith(".onnx"));
      attempt(() => (another ? this.openNetwork(another) : this.open(taken)));
    };
    addEventListener("drop", (event) => take(event.dataTransfer));
    addEventListener("paste", (event) => take(event.clipboardData));
  }

  private async openNetwork(file: File): Promise<void> {
    this.wanted = file;
    const forgotten = () => this.wanted !== file; // yet another has been asked for meanwhile
    const another = await file
      .arrayBuffer()
      .then((content) => Classifier.open(new Uint8Array(content), file.name))
      .catch((error) => {
        if (!forgotten()) throw error;
      });
    if (!another || forgotten()) return another?.close();
    await this.inTurn(async () => {
      const before = this.classifier;
      this.useNetwork(another);
      await before.close();
    });
    say(`faces are now judged by ${file.name}`);
    if (this.pictures.length && !this.watching) await this.showPicture(this.at);
  }

  private async openDrawn(): Promise<void> {
    const signal = this.begin();
    const get = async (path: string) => new File([await fetched(path)], path.replace("/", "-"));
    const drawn = await Promise.all(DRAWN.map(get)).finally(() => signal.throwIfAborted());
    await this.open(drawn);
  }

  private async open(files: File[]): Promise<void> {
    if (!files.length) return;
    this.pictures = files;
    await this.showPicture(0);
  }

  private async showPicture(number: number): Promise<void> {
    const signal = this.begin();
    this.at = (number + this.pictures.length) % this.pictures.length;
    const file = this.pictures[this.at];
    this.dress();
    say("looking for faces …");
    const { picture, size } = await openPicture(file).catch((error) => {
      signal.throwIfAborted();
      this.show.clear();
      throw error;
    });
    await this.inTurn(async () => {
      signal.throwIfAborted();
      this.show.put(picture, picture.width, picture.height, file.name.replace(/\.\w+$/, ""), size);
      this.show.set([]);
      const seen = await recognize(this.show.picture, this.detector, this.classifier, true, signal);
      signal.throwIfAborted();
      this.show.set(seen);
      element("whole", HTMLButtonElement).hidden = seen.length > 0;
      say(seen.length ? inWords(seen, this.classifier.facts.classes) : `no face found in ${file.name}`);
    }).finally(() => picture.close());
  }

  private judgeWhole(): Promise<void> {
    const signal = this.begin();
    return this.inTurn(async () => {
      signal.throwIfAborted();
      const { picture } = this.show;
      const seen = await recognizeSquares(picture, [middle(picture.canvas)], this.classifier);
      signal.throwIfAborted();
      this.show.set(seen);
      this.dress();
      say(`the whole picture taken as one face: ${inWords(seen, this.classifier.facts.classes)}`);
    });
  }

  private async watch(): Promise<void> {
    const signal = this.begin();
    this.watching = true;
    try {
      await this.askForCamera(signal);
      this.pictures = [];
      this.show.set([]); // no face of a photo is averaged with those of the camera
      this.pause(false);
      say("camera on; its pictures stay in this page");
      const pace = new Pace();
      for (let coming = this.camera.next(); await coming; ) {
        coming = this.camera.next(); // asked for before judging: what comes meanwhile is taken at once
        if (!this.paused) await this.inTurn(() => this.judgeFrame(signal, pace));
      }
    } catch (error) {
      signal.throwIfAborted();
      this.stopCamera();
      throw error;
    }
  }

  private async askForCamera(signal: AbortSignal): Promise<void> {
    const button = element("camera", HTMLButtonElement);
    button.disabled = true;
    say("waiting for the camera …");
    await this.camera.start(signal).finally(() => {
      button.disabled = false;
    });
  }

  private async judgeFrame(signal: AbortSignal, pace: Pace): Promise<void> {
    signal.throwIfAborted();
    const begun = performance.now();
    const { video } = this.camera;
    const { unsureBelow } = this.classifier.facts;
    const before = this.show.readings; // none where the network is another one since
    this.show.put(video, video.videoWidth, video.videoHeight, "camera");
    const now = await recognize(this.show.picture, this.detector, this.classifier, false, signal);
    signal.throwIfAborted();
    this.show.set(now.map((seen) => ({ ...seen, ...follow(before, seen, unsureBelow) })));
    if (!this.paused) pace.tick(begun);
  }

  private stopCamera(said = "the camera is off", isError = false): void {
    if (!this.watching) return;
    this.watching = false;
    this.task.abort();
    this.camera.stop();
    say(said, isError);
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
    element("pace", HTMLElement).textContent = "";
    element("whole", HTMLButtonElement).hidden = true;
    showWhich("pictures", "picture", this.at, this.pictures.length);
  }
}

/** Does what was asked for, and tells what went wrong, unless something else has been asked for since. */
async function attempt(action: () => unknown): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) sayError(error);
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

/** The network that the address asks for, or else the page's own, and why. */
async function firstNetwork(): Promise<{ classifier: Classifier; refused: string }> {
  const asked = new URLSearchParams(location.search).get("model");
  let refused = "";
  if (asked) {
    try {
      return { classifier: await networkAt(asked), refused };
    } catch (error) {
      refused = `${error instanceof Error ? error.message : error}; the page's own network is used`;
    }
  }
  return { classifier: await networkAt("model.onnx"), refused };
}

/** @throws Error with one sentence for people: another site, no such file, or no network. */
async function networkAt(path: string): Promise<Classifier> {
  if (!URL.canParse(path, location.href) || new URL(path, location.href).origin !== location.origin) {
    throw new Error(`${path} is not of this site, whose files alone are opened`);
  }
  return Classifier.open(await fetched(path), path);
}

async function start(): Promise<void> {
  const [detector, { classifier, refused }] = await Promise.all([Detector.load(), firstNetwork()]);
  Object.assign(globalThis, { forTests: { page: new Page(detector, classifier), recognizeSquares, read, follow } });
  for (const button of document.querySelectorAll<HTMLButtonElement>("#sources button")) button.disabled = false;
  say(refused || "ready", refused !== "");
  performance.mark("ready");
  keepForLater();
}

/** Lets the page open without a network, and tells when a newer one has been fetched. */
function keepForLater(): void {
  const worker = navigator.serviceWorker;
  if (!worker) return;
  const isUpdate = worker.controller !== null;
  worker.addEventListener("controllerchange", () => {
    if (isUpdate) say("a newer version of this page is there: reload to use it");
  });
  worker.register("offline.js").catch(() => say("ready, but not without a network"));
}

// A file that is dropped while the page loads must not be opened in its place.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
start().catch(sayError);
