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

  /**
   * Asks for the camera, which can take as long as somebody thinks about it.
   *
   * @param signal - aborted once the camera is no longer wanted; what comes later is switched off again at once.
   * @throws Error with one sentence for people: no camera, or no permission. AbortError: no longer wanted.
   */
  async start(signal: AbortSignal): Promise<void> {
    let stream: MediaStream;
    try {
      const wish = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 } };
      stream = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
    } catch (error) {
      signal.throwIfAborted();
      throw new Error(REASONS[error instanceof DOMException ? error.name : ""] ?? "the camera cannot be opened");
    }
    if (signal.aborted) end(stream);
    signal.throwIfAborted();
    this.stream = stream;
    for (const track of stream.getTracks()) {
      track.addEventListener("ended", () => {
        if (this.stream !== stream) return;
        this.stop();
        this.lost();
      });
    }
    this.video.srcObject = stream;
    await this.video.play();
  }

  stop(): void {
    if (this.stream) end(this.stream);
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

function end(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

const REASONS: Record<string, string> = {
  NotAllowedError: "the camera may not be used; allow it in the browser's address bar",
  NotFoundError: "no camera was found",
  NotReadableError: "the camera is in use by another program",
};
