/** The service worker: keeps the page's own files, so that it opens without a network. Nothing else is kept. */

// Both are put in by build.mjs: the files, and a name that changes when any of them does.
declare const FILES: string[];
declare const VERSION: string;

// Caches belong to all pages of an origin: this one touches those that bear its address.
const OURS = `expressions ${new URL("./", location.href).href} `;
const CACHE = OURS + VERSION;

const worker = globalThis as unknown as ServiceWorkerGlobalScope;

interface ServiceWorkerGlobalScope extends EventTarget {
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
}
interface ExtendableEvent extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface FetchEvent extends ExtendableEvent {
  request: Request;
  respondWith(response: Promise<Response>): void;
}

worker.addEventListener("install", (event) => {
  // Each file is asked for anew, as an older one may lie in the browser's own cache; "no-cache" lets the server say that
  // it is the same, so that the first visit does not load everything twice.
  const current = FILES.map((file) => new Request(file, { cache: "no-cache" }));
  const filled = caches.open(CACHE).then((cache) => cache.addAll(current));
  (event as ExtendableEvent).waitUntil(filled.then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  const emptied = caches
    .keys()
    .then((names) => Promise.all(names.filter((n) => n.startsWith(OURS) && n !== CACHE).map((n) => caches.delete(n))));
  (event as ExtendableEvent).waitUntil(emptied.then(() => worker.clients.claim()));
});

worker.addEventListener("fetch", (event) => {
  const { request, respondWith } = event as FetchEvent;
  if (request.method === "GET") respondWith.call(event, answer(request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  return (await cache.match(request.mode === "navigate" ? pageOf(request.url) : request)) ?? fetch(request);
}

/** The address under which the page itself is kept: without what names a network, and without its file's name. */
function pageOf(address: string): string {
  const { origin, pathname } = new URL(address);
  return origin + pathname.replace(/\/index\.html$/, "/");
}
