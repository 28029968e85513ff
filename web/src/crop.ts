/** Cuts faces out of pictures, framed and scaled as those that the network was trained on. */

import type { Box, Face } from "./detect";
import type { Frame, Point } from "./facts";

// Eyes and mouth on faces as photographers frame them, for networks that do not say what they are used to.
const USUAL: Frame = {
  eyes: [
    { x: 0.32, y: 0.37 },
    { x: 0.68, y: 0.37 },
  ],
  mouth: { x: 0.5, y: 0.79 },
};

/** The square to cut out, so that eyes and mouth lie where the network is used to them. */
export function framed(face: Face, frame: Frame | null): Box {
  const wanted = frame ?? USUAL;
  const here = spread([...face.eyes, face.mouth]);
  const there = spread([...wanted.eyes, wanted.mouth]);
  const side = here.radius / there.radius;
  return { left: here.centre.x - side * there.centre.x, top: here.centre.y - side * there.centre.y, side };
}

/** The mean of some points and their mean distance from it, which does not change when a head is tilted. */
function spread(points: Point[]): { centre: Point; radius: number } {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value) / values.length;
  const centre = { x: mean(points.map((point) => point.x)), y: mean(points.map((point) => point.y)) };
  return { centre, radius: mean(points.map((point) => Math.hypot(point.x - centre.x, point.y - centre.y))) };
}

/**
 * A square of a picture, scaled to the size of the network: Pillow's `resize(..., BILINEAR, box=...)`, so that it is
 * the same in every browser and in Python. What lies beyond the edges is like the nearest pixel.
 *
 * @param channels - 1: grey as Pillow's "L", 3: red, green, blue.
 * @returns channels × size × size numbers from 0 to 255.
 */
export function cropped(
  picture: OffscreenCanvasRenderingContext2D,
  box: Box,
  size: number,
  channels: 1 | 3,
): Float32Array {
  const { width, height } = picture.canvas;
  const across = spans(box.left, box.side, size, width);
  const down = spans(box.top, box.side, size, height);
  const left = across[0].from;
  const top = down[0].from;
  const columns = across[size - 1].to - left;
  const rows = down[size - 1].to - top;
  const pixels = picture.getImageData(left, top, columns, rows).data;
  const result = new Float32Array(channels * size * size);
  const plane = new Uint8Array(columns * rows);
  const narrow = new Uint8Array(size * rows);
  for (let channel = 0; channel < channels; channel++) {
    takeChannel(pixels, channels === 1 ? undefined : channel, plane);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < size; x++) {
        narrow[y * size + x] = weighted(plane, across[x], y * columns - left, 1);
      }
    }
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        result[(channel * size + y) * size + x] = weighted(narrow, down[y], x - top * size, size);
      }
    }
  }
  return result;
}

// Pillow's fixed point: halves are frequent, and would otherwise be rounded the other way now and then.
const BITS = 22;

/** The pixels that one pixel of the result is made of: `from` up to, not including, `to`, with their shares. */
interface Span {
  from: number;
  to: number;
  /** In 2^-BITS. */
  shares: Int32Array;
}

/** For each pixel of the result a triangle over its place, as wide as the scale asks for. */
function spans(start: number, side: number, size: number, limit: number): Span[] {
  const scale = side / size;
  const reach = Math.max(1, scale);
  return Array.from({ length: size }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.floor(centre - reach + 0.5);
    const last = Math.floor(centre + reach + 0.5);
    const from = clamp(first, limit);
    const to = clamp(last - 1, limit) + 1;
    const places = Array.from({ length: last - first }, (_, k) => first + k);
    const weights = places.map((x) => Math.max(0, 1 - Math.abs((x - centre + 0.5) * (1 / reach))));
    const all = weights.reduce((sum, weight) => sum + weight);
    const shares = new Int32Array(to - from);
    for (const [k, x] of places.entries()) {
      shares[clamp(x, limit) - from] += Math.floor(0.5 + weights[k] * (1 / all) * 2 ** BITS);
    }
    return { from, to, shares };
  });
}

function clamp(place: number, limit: number): number {
  return Math.min(limit - 1, Math.max(0, place));
}

/** The weighted mean of a span, rounded: 0 to 255. */
function weighted(values: Uint8Array, span: Span, offset: number, step: number): number {
  let sum = 2 ** (BITS - 1);
  for (let i = 0; i < span.shares.length; i++) sum += span.shares[i] * values[offset + (span.from + i) * step];
  return Math.min(255, sum >> BITS);
}

/** One colour of canvas bytes, or their grey. */
function takeChannel(rgba: Uint8ClampedArray, channel: number | undefined, into: Uint8Array): void {
  for (let i = 0, p = 0; i < into.length; i++, p += 4) {
    into[i] =
      channel === undefined
        ? (rgba[p] * 19595 + rgba[p + 1] * 38470 + rgba[p + 2] * 7471 + 32768) >> 16
        : rgba[p + channel];
  }
}
