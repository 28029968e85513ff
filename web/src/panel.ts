/** The words and bars beside the picture. */

import type { Reading } from "./follow";

/** An element of the page by its id. */
export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} "${id}"`);
  return found;
}

/** Tells what happens, to eyes and to screen readers. */
export function say(text: string, isError = false): void {
  const line = element("said", HTMLParagraphElement);
  line.classList.toggle("error", isError);
  line.textContent = text;
}

export function sayError(error: unknown): void {
  say(error instanceof Error ? error.message : String(error), true);
}

/** One bar for each class of the network, once for all. */
export function buildBars(classes: string[]): void {
  const rows = classes.map((name, i) => {
    const row = document.createElement("li");
    const title = document.createElement("span");
    title.id = `class-${i}`;
    title.textContent = name;
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-labelledby", title.id);
    row.append(title, bar, document.createElement("output"));
    return row;
  });
  element("bars", HTMLUListElement).replaceChildren(...rows);
}

/** Which face, what is said of it, and its bars; nothing where no face is chosen. */
export function showReading(reading: Reading | undefined, classes: string[], which: string): void {
  element("named", HTMLHeadingElement).textContent = !reading ? "–" : reading.sure ? classes[reading.named] : "unsure";
  element("which", HTMLParagraphElement).textContent = which;
  const rows = element("bars", HTMLUListElement).children;
  for (const [i, row] of [...rows].entries()) {
    const value = reading?.probabilities[i] ?? 0;
    row.classList.toggle("named", reading?.sure === true && reading.named === i);
    const [bar, number] = [row.querySelector("progress"), row.querySelector("output")];
    if (bar) bar.value = value;
    if (number) number.textContent = reading ? `${Math.round(100 * value)}%` : "";
  }
}

/** "2 faces: happy, unsure" */
export function inWords(readings: Reading[], classes: string[]): string {
  const names = readings.map((reading) => (reading.sure ? classes[reading.named] : "unsure"));
  return `${readings.length} ${readings.length === 1 ? "face" : "faces"}: ${names.join(", ")}`;
}
