/** Hands results over as files; the page itself keeps nothing. */

import type { NetworkFacts } from "./facts";
import type { Show } from "./show";

/** The picture with boxes, as the page shows it. */
export function savePicture(show: Show): void {
  show.drawn().toBlob((blob) => blob && hand(blob, `${show.name}.expressions.png`), "image/png");
}

/** Boxes in pixels of the original picture, set upright, and all probabilities. */
export function saveNumbers(show: Show, facts: NetworkFacts): void {
  const { size, name } = show;
  const scale = Math.max(size.width, size.height) / Math.max(show.picture.canvas.width, show.picture.canvas.height);
  const faces = show.readings.map(({ box, probabilities, named, sure }) => ({
    box: { left: box.left * scale, top: box.top * scale, side: box.side * scale },
    expression: sure ? facts.classes[named] : "unsure",
    probabilities: Object.fromEntries(facts.classes.map((key, i) => [key, probabilities[i]])),
  }));
  const { run, arch, unsureBelow } = facts;
  const network = { run, arch, unsure_below: unsureBelow };
  const all = { picture: name, ...size, network, faces };
  hand(new Blob([JSON.stringify(all, null, 2)], { type: "application/json" }), `${name}.expressions.json`);
}

function hand(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
