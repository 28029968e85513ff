/** From a picture to readings: detect, crop, classify. */

import type { ActivationMaps, Classifier } from "./classify";
import { cropped, framed } from "./crop";
import type { Box, Detector } from "./detect";
import { type Reading, read } from "./follow";
import { breathe } from "./runtime";

/** What the page knows of one face. */
export interface Seen extends Reading {
  maps: ActivationMaps | null;
}

/** Readings of all faces that the detector finds, row by row from left to right. */
export async function recognize(
  picture: OffscreenCanvasRenderingContext2D,
  detector: Detector,
  classifier: Classifier,
  thoroughly: boolean,
  signal: AbortSignal,
): Promise<Seen[]> {
  const { canvas } = picture;
  const faces = await detector.find(canvas, canvas.width, canvas.height, thoroughly, signal);
  const places = faces.map((face) => ({ box: face.box, cut: framed(face, classifier.facts.frame) }));
  return judged(picture, places, classifier);
}

/** The picture's largest square: what to judge of one that is a face from edge to edge, as in data sets of faces. */
export function middle({ width, height }: { width: number; height: number }): Box {
  const side = Math.min(width, height);
  return { left: (width - side) / 2, top: (height - side) / 2, side };
}

/** Readings of squares that are known to be faces. */
export function recognizeSquares(
  picture: OffscreenCanvasRenderingContext2D,
  squares: Box[],
  classifier: Classifier,
): Promise<Seen[]> {
  const places = squares.map((box) => ({ box, cut: box }));
  return judged(picture, places, classifier);
}

async function judged(
  picture: OffscreenCanvasRenderingContext2D,
  places: { box: Box; cut: Box }[],
  classifier: Classifier,
): Promise<Seen[]> {
  const { imageSize, channels, unsureBelow } = classifier.facts;
  const faces: Float32Array[] = [];
  for (const { cut } of places) {
    faces.push(cropped(picture, cut, imageSize, channels));
    await breathe();
  }
  const judgements = await classifier.judge(faces);
  return judgements.map(({ probabilities, maps }, i) => ({
    ...read(places[i].box, places[i].cut, probabilities, unsureBelow),
    maps,
  }));
}
