/** Draws the picture, boxes and maps onto the stage. */

import type { ActivationMaps } from "./classify";
import type { Box } from "./detect";
import type { Reading } from "./follow";

const MARGIN = 3;

export interface Scene {
  picture: CanvasImageSource;
  readings: Reading[];
  classes: string[];
  /** Number of the face whose bars are shown. */
  chosen: number;
  /** A map for each reading, to be laid over the face; none where they are switched off. */
  maps: (ActivationMaps | null)[];
}

/** What is said of a face: the class, or that the network is not sure. */
export function label(reading: Reading, classes: string[]): string {
  const share = Math.round(100 * reading.probabilities[reading.named]);
  return reading.sure ? `${classes[reading.named]} ${share}%` : "unsure";
}

export function drawScene(stage: CanvasRenderingContext2D, scene: Scene): void {
  const { width, height } = stage.canvas;
  stage.drawImage(scene.picture, 0, 0, width, height);
  // One pixel of the screen, so that lines and letters look alike on every picture and every screen.
  const unit = Math.max(width / (stage.canvas.clientWidth || width), height / (stage.canvas.clientHeight || height));
  for (const [number, reading] of scene.readings.entries()) {
    const map = scene.maps[number];
    if (map) drawMap(stage, reading.cut, map, reading.named);
    drawBox(stage, reading, label(reading, scene.classes), number === scene.chosen, unit);
  }
}

function drawBox(stage: CanvasRenderingContext2D, reading: Reading, text: string, chosen: boolean, unit: number): void {
  const { left, top, side } = reading.box;
  for (const [colour, width] of [
    ["#000a", 4.5],
    [reading.sure ? "#fff" : "#fffb", 2.5],
  ] as const) {
    stage.strokeStyle = colour;
    stage.lineWidth = width * unit * (chosen ? 1.4 : 1);
    stage.setLineDash(reading.sure ? [] : [8 * unit, 6 * unit]);
    stage.strokeRect(left, top, side, side);
  }
  const size = Math.max(11 * unit, Math.min(18 * unit, side / 6));
  stage.font = `600 ${size}px system-ui, sans-serif`;
  stage.textBaseline = "middle";
  const width = stage.measureText(text).width + size;
  const x = Math.max(0, Math.min(stage.canvas.width - width, left - MARGIN));
  const y = top > 1.7 * size ? top - 1.6 * size : Math.min(top + side + 0.2 * size, stage.canvas.height - 1.5 * size);
  stage.fillStyle = chosen ? "#fff" : "#000c";
  stage.fillRect(x, y, width, 1.4 * size);
  stage.fillStyle = chosen ? "#000" : "#fff";
  stage.fillText(text, x + size / 2, y + 0.74 * size);
}

const tile = new OffscreenCanvas(1, 1);

/** Lays one class's map over the face: the more evidence, the more of the colour. */
function drawMap(stage: CanvasRenderingContext2D, box: Box, maps: ActivationMaps, shown: number): void {
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
  stage.imageSmoothingQuality = "high";
  stage.drawImage(tile, box.left, box.top, box.side, box.side);
}
