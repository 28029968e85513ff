/** Hands results over as files; the page itself keeps nothing. */

import type { NetworkFacts } from "./facts";
import type { Reading } from "./follow";

/** The picture with boxes, as the stage shows it. */
export function savePicture(stage: HTMLCanvasElement, name: string): void {
  stage.toBlob((blob) => blob && hand(blob, `${name}.expressions.png`), "image/png");
}

/** Boxes in pixels of the stage, and all probabilities. */
export function saveNumbers(stage: HTMLCanvasElement, name: string, readings: Reading[], facts: NetworkFacts): void {
  const faces = readings.map(({ box, probabilities, named, sure }) => ({
    box,
    expression: sure ? facts.classes[named] : "unsure",
    probabilities: Object.fromEntries(facts.classes.map((key, i) => [key, probabilities[i]])),
  }));
  const { run, arch, unsureBelow } = facts;
  const network = { run, arch, unsure_below: unsureBelow };
  const all = { picture: name, width: stage.width, height: stage.height, network, faces };
  hand(new Blob([JSON.stringify(all, null, 2)], { type: "application/json" }), `${name}.expressions.json`);
}

function hand(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
