/** Finds faces: BlazeFace (short range) of MediaPipe, rewritten as ONNX by make_detector.py. */

import type { Frame, Point } from "./facts";
import { breathe, fetched, openNetwork, type Session, Tensor } from "./runtime";

/** In pixels of the picture; may reach beyond its edges. */
export interface Box {
  left: number;
  top: number;
  side: number;
}

/** A face, and where its eyes and mouth are. */
export interface Face extends Frame {
  box: Box;
}

interface Found extends Face {
  score: number;
}

const SIZE = 128; // what the detector sees
// It sees faces that take up a good tenth of its square; smaller ones are looked for in squares that are a half and
// a quarter as large. Of the many small squares more must be asked: measured on pictures without faces.
const LOOKS = [
  { parts: 1, atLeast: 0.5 },
  { parts: 2, atLeast: 0.7 },
  { parts: 4, atLeast: 0.7 },
];
const POINTS = 6; // eyes, nose, mouth, ears
const MOUTH = 3;
const SAME_FACE = 0.5; // share of the smaller box that lies in the other

// Hair and ears around a face can look like a small one. There a hit counts only where it is all but certain: measured
// on portraits.
const HEAD = 0.5; // of a face's side, on each side of its box
const MUCH_LARGER = 3;
const ALL_BUT_CERTAIN = 0.85;

export class Detector {
  private readonly canvas = new OffscreenCanvas(SIZE, SIZE);
  private readonly context: OffscreenCanvasRenderingContext2D;

  private constructor(private readonly session: Session) {
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser gives no canvas to draw on");
    this.context = context;
    this.context.imageSmoothingQuality = "medium";
  }

  static async load(): Promise<Detector> {
    return new Detector(await openNetwork(await fetched("detector.onnx")));
  }

  /**
   * The faces of a picture, row by row from left to right.
   *
   * @param thoroughly - look for small faces too: some fifty times the work, so for photos only.
   * @param signal - aborted when the faces are no longer wanted, which ends the work with an AbortError.
   */
  async find(
    picture: CanvasImageSource,
    width: number,
    height: number,
    thoroughly: boolean,
    signal: AbortSignal,
  ): Promise<Face[]> {
    const found: Found[] = [];
    for (const look of thoroughly ? LOOKS : LOOKS.slice(0, 1)) {
      for (const square of squares(width, height, look.parts)) {
        found.push(...(await this.look(picture, square, look.atLeast)));
        await breathe();
        signal.throwIfAborted();
      }
    }
    return inReadingOrder(distinct(found));
  }

  private async look(picture: CanvasImageSource, square: Box, atLeast: number): Promise<Found[]> {
    const { left, top, side } = square;
    this.context.fillRect(0, 0, SIZE, SIZE);
    this.context.drawImage(picture, left, top, side, side, 0, 0, SIZE, SIZE);
    const rgba = new Uint8Array(this.context.getImageData(0, 0, SIZE, SIZE).data.buffer);
    const given = await this.session.run({ rgba: new Tensor("uint8", rgba, [SIZE, SIZE, 4]) });
    const [boxes, points, scores] = ["boxes", "points", "scores"].map((name) => given[name].data as Float32Array);
    const found: Found[] = [];
    for (const [anchor, score] of scores.entries()) {
      if (score < atLeast) continue;
      const [x0, y0, x1, y1] = boxes.subarray(4 * anchor, 4 * anchor + 4);
      const box = { left: left + x0 * side, top: top + y0 * side, side: ((x1 - x0 + y1 - y0) / 2) * side };
      const point = (which: number): Point => {
        const [x, y] = points.subarray((anchor * POINTS + which) * 2);
        return { x: left + x * side, y: top + y * side };
      };
      found.push({ box, eyes: [point(0), point(1)], mouth: point(MOUTH), score });
    }
    return found;
  }
}

/** Squares that cover a picture, each as long as a part of its longer side, half overlapping. */
export function squares(width: number, height: number, parts: number): Box[] {
  const side = Math.max(width, height) / parts;
  const tops = starts(height, side);
  return tops.flatMap((top) => starts(width, side).map((left) => ({ left, top, side })));
}

function starts(length: number, side: number): number[] {
  const steps = Math.max(0, Math.ceil((length / side - 1) * 2 - 1e-6));
  return Array.from({ length: steps + 1 }, (_, i) => (steps ? (i / steps) * (length - side) : 0));
}

/** Best first, leaving out what lies on a better one, or on the head of one. */
function distinct(found: Found[]): Face[] {
  const kept: Found[] = [];
  for (const face of found.sort((a, b) => b.score - a.score)) {
    const isNew = (other: Found) => shared(face.box, other.box) < SAME_FACE && !isOnHead(face, other);
    if (kept.every(isNew)) kept.push(face);
  }
  return kept;
}

function isOnHead({ box, score }: Found, { box: other }: Found): boolean {
  const head = {
    left: other.left - HEAD * other.side,
    top: other.top - HEAD * other.side,
    side: (1 + 2 * HEAD) * other.side,
  };
  return score < ALL_BUT_CERTAIN && other.side > MUCH_LARGER * box.side && shared(box, head) > SAME_FACE;
}

/** Row by row, each from left to right; in a row are those whose middle lies beside its first face. */
function inReadingOrder(faces: Face[]): Face[] {
  const middle = ({ box }: Face) => box.top + box.side / 2;
  const rows: Face[][] = [];
  for (const face of faces.sort((a, b) => middle(a) - middle(b))) {
    const row = rows.at(-1);
    if (row && middle(face) < row[0].box.top + row[0].box.side) row.push(face);
    else rows.push([face]);
  }
  return rows.flatMap((row) => row.sort((a, b) => a.box.left - b.box.left));
}

/** Share of the smaller of two boxes that lies in the other, 0 to 1. */
export function shared(a: Box, b: Box): number {
  const width = Math.min(a.left + a.side, b.left + b.side) - Math.max(a.left, b.left);
  const height = Math.min(a.top + a.side, b.top + b.side) - Math.max(a.top, b.top);
  return (Math.max(0, width) * Math.max(0, height)) / Math.min(a.side, b.side) ** 2;
}
