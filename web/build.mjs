// Bundles the page: node build.mjs [FOLDER], by default dist/, emptied first. In it are static/, the scripts, the
// compressed runtime, what prepare.py has made, and the list of files that the installed page keeps for use without a network.

import { createHash } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative, sep } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const OUT = process.argv[2] ?? "dist";
const RUNTIME = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";

const common = { bundle: true, minify: true, format: "esm", target: "es2022", legalComments: "linked" };

// Networks that somebody has put there stay, and are no part of what every visitor loads.
const before = existsSync(OUT) ? readdirSync(OUT) : [];
const own = readdirSync("made");
const guests = before.filter((name) => name.endsWith(".onnx") && !own.includes(name));
for (const name of before) if (!guests.includes(name)) rmSync(join(OUT, name), { recursive: true });
const isPart = (path) => basename(path) !== "done"; // make's stamp
for (const folder of ["static", "made"]) cpSync(folder, OUT, { recursive: true, filter: isPart });
writeFileSync(join(OUT, "ort.wasm.gz"), gzipSync(readFileSync(RUNTIME), { level: 9 }));
await build({ ...common, entryPoints: ["src/app.ts"], outdir: OUT });

const files = readdirSync(OUT, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(OUT, join(entry.parentPath, entry.name)).split(sep).join("/"))
  .filter((name) => !guests.includes(name))
  .sort();
const hash = createHash("sha256");
for (const file of files) hash.update(file).update(readFileSync(join(OUT, file)));
const define = {
  FILES: JSON.stringify(["./", ...files.filter((file) => file !== "index.html")]),
  VERSION: JSON.stringify(hash.digest("hex").slice(0, 16)),
};
await build({ ...common, define, entryPoints: ["src/offline.ts"], outdir: OUT });

const megabytes = files.reduce((sum, file) => sum + readFileSync(join(OUT, file)).length, 0) / 1e6;
console.log(`${OUT}/: ${files.length + 1} files, ${megabytes.toFixed(2)} MB`);
