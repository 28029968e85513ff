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
    const number = document.createElement("output");
    number.ariaLive = "off"; // the camera changes it many times a second; the status line is what is read out
    row.append(title, bar, number);
    return row;
  });
  element("bars", HTMLUListElement).replaceChildren(...rows);
}

/** What is said of a face, and its bars; a hint where there is none. */
export function showReading(reading: Reading | undefined, classes: string[]): void {
  element("reading", HTMLElement).hidden = !reading;
  element("hint", HTMLElement).hidden = reading !== undefined;
  if (!reading) return;
  element("named", HTMLHeadingElement).textContent = reading.sure ? classes[reading.named] : "unsure";
  const rows = element("bars", HTMLUListElement).children;
  for (const [i, row] of [...rows].entries()) {
    const value = reading.probabilities[i];
    row.classList.toggle("named", reading.sure && reading.named === i);
    const [bar, number] = [row.querySelector("progress"), row.querySelector("output")];
    if (bar) bar.value = value;
    if (number) number.textContent = `${Math.round(100 * value)}%`;
  }
}

/** "face 2 of 6" between two buttons; nothing where there is no choice. */
export function showWhich(group: "faces" | "pictures", thing: string, chosen: number, count: number): void {
  const row = element(group, HTMLElement);
  row.hidden = count < 2;
  const [words] = row.getElementsByTagName("span");
  words.textContent = `${thing} ${chosen + 1} of ${count}`;
}

const NAMED_ALONE = 4; // faces; of more, the names are counted

/** "2 faces: happy, unsure" or "21 faces: 9 happy, 7 sad, 5 unsure" */
export function inWords(readings: Reading[], classes: string[]): string {
  const names = readings.map((reading) => (reading.sure ? classes[reading.named] : "unsure"));
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const counted = [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => `${count} ${name}`);
  const words = names.length > NAMED_ALONE ? counted : names;
  return `${readings.length} ${readings.length === 1 ? "face" : "faces"}: ${words.join(", ")}`;
}
