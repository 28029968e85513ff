/** Loads onnxruntime and the two networks. */

import * as ort from "onnxruntime-web/wasm";

export type Session = ort.InferenceSession;
export const Tensor = ort.Tensor;
export type Tensor = ort.Tensor;

let ready: Promise<void> | undefined;

/** The bytes of a file of this page, unpacked. */
export async function fetched(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(path).catch(() => {
    throw new Error(`${path} could not be loaded: no answer`);
  });
  if (!response.ok) throw new Error(`${path} could not be loaded (status ${response.status})`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  // Some static hosts let the browser unpack what ends in .gz, others send it as it is.
  if (!path.endsWith(".gz") || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A network ready to run on one thread: its images are too small for more to pay. */
export async function openNetwork(file: Uint8Array): Promise<Session> {
  ready ??= prepare();
  await ready;
  return ort.InferenceSession.create(file, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
}

/** Lets the page answer to keys and clicks between two pieces of work. */
export function breathe(): Promise<void> {
  return new Promise((settle) => {
    const { port1, port2 } = new MessageChannel(); // setTimeout would wait for 4 ms
    port1.onmessage = () => {
      port1.close();
      settle();
    };
    port2.postMessage(null);
  });
}

async function prepare(): Promise<void> {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = (await fetched("ort.wasm.gz")).buffer;
}
