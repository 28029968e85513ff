/** The camera: on only while somebody watches. */

export class Camera {
  private stream: MediaStream | undefined;

  /** @param lost - called when the camera ends by itself: unplugged, or taken by another program. */
  constructor(
    readonly video: HTMLVideoElement,
    private readonly lost: () => void,
  ) {}

  get isOn(): boolean {
    return this.stream !== undefined;
  }

  /** @throws Error with one sentence for people: no camera, or no permission. */
  async start(): Promise<void> {
    this.stop();
    try {
      const wish = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 } };
      this.stream = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
    } catch (error) {
      throw new Error(REASONS[error instanceof DOMException ? error.name : ""] ?? "the camera cannot be opened");
    }
    for (const track of this.stream.getTracks()) {
      track.addEventListener("ended", () => {
        this.stop();
        this.lost();
      });
    }
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  stop(): void {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = undefined;
    this.video.srcObject = null;
  }

  /** Settles with the next picture of the video; false once the camera is off. */
  next(): Promise<boolean> {
    return new Promise((settle) => {
      if (!this.isOn) return settle(false);
      const off = () => settle(false); // what `srcObject = null` and the end of a stream bring about
      this.video.addEventListener("emptied", off, { once: true });
      this.video.requestVideoFrameCallback(() => {
        this.video.removeEventListener("emptied", off);
        settle(this.isOn);
      });
    });
  }
}

const REASONS: Record<string, string> = {
  NotAllowedError: "the camera may not be used; allow it in the browser's address bar",
  NotFoundError: "no camera was found",
  NotReadableError: "the camera is in use by another program",
};
