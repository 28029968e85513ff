/** Draws a picture, with boxes and maps, onto a canvas of any size. */

import type { ActivationMaps } from "./classify";
import type { Box } from "./detect";
import type { Reading } from "./follow";

export interface Scene {
  picture: OffscreenCanvas;
  readings: Reading[];
  classes: string[];
  /** Number of the face whose bars are shown. */
  chosen: number;
  /** A map for each reading, to be laid over the face; none where they are switched off. */
  maps: (ActivationMaps | null)[];
}

/** How a picture lies on a canvas, in the canvas's pixels. */
export interface View {
  left: number;
  top: number;
  /** Pixels of the canvas for one of the picture. */
  scale: number;
  /** What lines and letters are measured in. */
  unit: number;
}

/** What is said of a face: the class, or that the network is not sure. */
export function label(reading: Reading, classes: string[]): string {
  const share = Math.round(100 * reading.probabilities[reading.named]);
  return reading.sure ? `${classes[reading.named]} ${share}%` : "unsure";
}

export function drawScene(context: CanvasRenderingContext2D, scene: Scene, view: View): void {
  const { left, top, scale, unit } = view;
  const { width, height } = scene.picture;
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(scene.picture, left, top, width * scale, height * scale);
  const seen = ({ left: x, top: y, side }: Box) => ({
    left: left + x * scale,
    top: top + y * scale,
    side: side * scale,
  });
  context.font = `600 ${14 * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.save();
  context.beginPath();
  context.rect(left, top, width * scale, height * scale); // boxes and maps may reach beyond the picture
  context.clip();
  for (const [number, { cut, named }] of scene.readings.entries()) {
    const map = scene.maps[number];
    if (map) drawMap(context, seen(cut), map, named);
  }
  const boxes = scene.readings.map(({ box }) => seen(box));
  const place = (texts: string[]) => texts.map((text, i) => signOf(context, text, boxes[i], view, scene.picture));
  // Names where each has room, otherwise the numbers under which the bars are found.
  let signs = place(scene.readings.map((reading) => label(reading, scene.classes)));
  if (signs.some((one, i) => signs.some((other, j) => j < i && overlap(one, other)))) {
    signs = place(scene.readings.map((_, i) => `${i + 1}`));
  }
  for (const [number, reading] of scene.readings.entries()) {
    const chosen = number === scene.chosen;
    drawBox(context, boxes[number], reading.sure, chosen ? 1.4 * unit : unit);
    drawSign(context, signs[number], chosen);
  }
  context.restore();
}

/** A text on a ground of its own. */
interface Sign {
  text: string;
  left: number;
  top: number;
  width: number;
  height: number;
}

/** The sign of a box: above it where there is room, otherwise at its lower edge. */
function signOf(
  context: CanvasRenderingContext2D,
  text: string,
  box: Box,
  { left, top, scale, unit }: View,
  picture: OffscreenCanvas,
): Sign {
  const height = 20 * unit;
  const width = context.measureText(text).width + 10 * unit;
  const [right, bottom] = [left + picture.width * scale, top + picture.height * scale];
  const above = box.top - height - 2 * unit;
  return {
    text,
    left: Math.max(left, Math.min(right - width, box.left - 2 * unit)),
    top: above >= top ? above : Math.min(bottom - height, box.top + box.side - height),
    width,
    height,
  };
}

function overlap(a: Sign, b: Sign): boolean {
  const across = Math.min(a.left + a.width, b.left + b.width) > Math.max(a.left, b.left);
  return across && Math.min(a.top + a.height, b.top + b.height) > Math.max(a.top, b.top);
}

function drawBox(context: CanvasRenderingContext2D, { left, top, side }: Box, sure: boolean, unit: number): void {
  for (const [colour, width] of [
    ["#000a", 4.5],
    [sure ? "#fff" : "#fffb", 2.5],
  ] as const) {
    context.strokeStyle = colour;
    context.lineWidth = width * unit;
    context.setLineDash(sure ? [] : [8 * unit, 6 * unit]);
    context.strokeRect(left, top, side, side);
  }
}

function drawSign(context: CanvasRenderingContext2D, sign: Sign, chosen: boolean): void {
  const { text, left, top, width, height } = sign;
  context.fillStyle = chosen ? "#fff" : "#000c";
  context.fillRect(left, top, width, height);
  context.fillStyle = chosen ? "#000" : "#fff";
  context.fillText(text, left + height / 4, top + 0.53 * height);
}

const tile = new OffscreenCanvas(1, 1);

/** Lays one class's map over the face: the more evidence, the more of the colour. */
function drawMap(context: CanvasRenderingContext2D, box: Box, maps: ActivationMaps, shown: number): void {
  const { width, height } = maps;
  const values = maps.values.subarray(shown * width * height, (shown + 1) * width * height);
  const most = Math.max(...values, 1e-9);
  const pixels = new ImageData(width, height);
  for (const [i, value] of values.entries()) {
    const share = Math.max(0, value) / most; // evidence against the class is left out
    pixels.data.set([255, 160 - 90 * share, 0, 190 * share], 4 * i);
  }
  tile.width = width;
  tile.height = height;
  tile.getContext("2d")?.putImageData(pixels, 0, 0);
  context.drawImage(tile, box.left, box.top, box.side, box.side);
}
