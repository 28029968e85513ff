// What a browser has to say about a page on disk:
//   node page_check.mjs CHROMIUM PAGE.html WIDTH [light|dark] [SHOT.png]
// Prints JSON: errors on the console, requests beyond the file, pixels that the page is too wide, findings of axe.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [program, page, width, scheme = "light", shot] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: program,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
// the page forbids scripts, axe among them
const context = await browser.newContext({ bypassCSP: true, colorScheme: scheme, viewport: { width: Number(width), height: 900 } });
const tab = await context.newPage();
const address = pathToFileURL(page).href;
const errors = [], requests = [];
tab.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
tab.on("pageerror", (error) => errors.push(String(error)));
tab.on("request", (request) => {
  if (request.url() !== address && !request.url().startsWith("data:")) requests.push(request.url());
});
await tab.goto(address);
const overflow = await tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
await tab.addScriptTag({ content: axe });
const found = await tab.evaluate(() => window.axe.run());
if (shot) await tab.screenshot({ path: shot, fullPage: true });
await browser.close();
const findings = found.violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, where: nodes.map((n) => n.html.slice(0, 200)) }));
console.log(JSON.stringify({ errors, requests, overflow, findings }));
