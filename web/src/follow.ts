/** Keeps results on video calm: probabilities are averaged over time, and what is said changes only for a reason. */

import { type Box, shared } from "./detect";

/** What is shown of one face. */
export interface Reading {
  /** Around the face. */
  box: Box;
  /** What the network has seen of the picture. */
  cut: Box;
  probabilities: Float32Array;
  /** Index of the class that is named. */
  named: number;
  sure: boolean;
}

const WEIGHT_OF_NEW = 0.35; // at 20 pictures a second, a new expression is seen after a fifth of a second
const LEAD = 0.1; // how far another class must lie ahead before it is named instead
const SLACK = 0.05; // how far the probability must cross the threshold before "unsure" comes or goes
const SAME_FACE = 0.4; // share of the smaller box that lies in the one before

/** The reading of a face on a picture of its own. */
export function read(box: Box, cut: Box, probabilities: Float32Array, unsureBelow: number): Reading {
  const named = probabilities.indexOf(Math.max(...probabilities));
  return { box, cut, probabilities, named, sure: probabilities[named] >= unsureBelow };
}

/** The reading of a face on a video, given those on the picture before. */
export function follow(before: Reading[], now: Reading, unsureBelow: number): Reading {
  const earlier = before.find((other) => shared(other.box, now.box) > SAME_FACE);
  if (!earlier) return now;
  const probabilities = now.probabilities.map(
    (value, i) => WEIGHT_OF_NEW * value + (1 - WEIGHT_OF_NEW) * earlier.probabilities[i],
  );
  const best = probabilities.indexOf(Math.max(...probabilities));
  const named = probabilities[best] > probabilities[earlier.named] + LEAD ? best : earlier.named;
  const threshold = unsureBelow + (earlier.sure ? -SLACK : SLACK);
  return { ...now, probabilities, named, sure: probabilities[named] >= threshold };
}
