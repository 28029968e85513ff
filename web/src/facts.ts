/** What a network file says of itself. onnxruntime-web does not hand this out, so it is read from the file's bytes. */

export interface NetworkFacts {
  run: string;
  arch: string;
  classes: string[];
  /** Height and width of the faces that the network takes, in pixels. */
  imageSize: number;
  /** 1: grey, 3: red, green, blue. */
  channels: 1 | 3;
  /** The page says "unsure" where the highest probability lies below this; 0 where nobody could tell. */
  unsureBelow: number;
  /** Where eyes and mouth lie on the faces that the network was trained on; null where that is not known. */
  frame: Frame | null;
  /** Whether the network gives class activation maps. */
  hasMaps: boolean;
}

/** A place as shares of a picture's width and height, or in its pixels. */
export interface Point {
  x: number;
  y: number;
}

export interface Frame {
  /** The one on the left of the picture first. */
  eyes: [Point, Point];
  mouth: Point;
}

const KEY = "face_expression";
const FORMAT = 1;
const LARGEST = 1024; // pixels of a face's side
const MODEL_METADATA = 14; // ModelProto.metadata_props: StringStringEntryProto { key = 1; value = 2 }

/**
 * Facts from the bytes of an ONNX file made by export.py.
 *
 * @throws Error with one sentence for people: not such a file, of a newer format, or what it says cannot be.
 */
export function readFacts(file: Uint8Array, name: string): NetworkFacts {
  const text = metadata(file, name).get(KEY);
  if (text === undefined) throw new Error(`${name} does not say which expressions it knows; make it with export.py`);
  const said = parsed(text, name);
  if (said.format !== FORMAT) {
    throw new Error(`${name} is of format ${said.format}; this page reads format ${FORMAT}`);
  }
  const { classes, image_size: imageSize, channels, unsure_below: unsureBelow = 0, crop } = said;
  const require = (key: string, fits: boolean, wanted: string) => {
    if (!fits) throw new Error(`${name}: ${key} is ${JSON.stringify(said[key])}; expected ${wanted}`);
  };
  const isText = (value: unknown) => typeof value === "string" && value !== "";
  const names = Array.isArray(classes) && classes.length > 1 && classes.every(isText);
  require("classes", names && new Set(classes).size === classes.length, "two or more different names");
  require("image_size", Number.isInteger(imageSize) && imageSize > 0 && imageSize <= LARGEST, `1 to ${LARGEST}`);
  require("channels", channels === 1 || channels === 3, "1 or 3");
  require("unsure_below", Number(unsureBelow) >= 0 && Number(unsureBelow) <= 1, "a probability");
  return {
    run: String(said.run ?? "not named"),
    arch: String(said.arch ?? name),
    classes,
    imageSize,
    channels,
    unsureBelow: Number(unsureBelow),
    frame: frameOf(crop?.eyes, crop?.mouth),
    hasMaps: said.cam != null,
  };
}

// biome-ignore lint/suspicious/noExplicitAny: it is what a file says, and is checked field by field
function parsed(text: string, name: string): Record<string, any> {
  try {
    const said = JSON.parse(text);
    if (typeof said === "object" && said !== null) return said;
  } catch {}
  throw new Error(`${name}: what it says of itself ("${KEY}") is not a JSON object; make it with export.py`);
}

/** Of places [x, y]; null where the file gives none. */
function frameOf(eyes: unknown, mouth: unknown): Frame | null {
  const points = Array.isArray(eyes) ? [...eyes, mouth] : [];
  const isPoint = (point: unknown) => Array.isArray(point) && point.length === 2 && point.every(Number.isFinite);
  if (points.length !== 3 || !points.every(isPoint)) return null;
  const [left, right, low] = points.map(([x, y]) => ({ x, y }));
  return { eyes: [left, right], mouth: low };
}

/** The file's own key-value pairs. */
function metadata(file: Uint8Array, name: string): Map<string, string> {
  const pairs = new Map<string, string>();
  try {
    for (const [field, value] of fields(file)) {
      if (field !== MODEL_METADATA) continue;
      const entry = new Map(fields(value));
      pairs.set(text(entry.get(1)), text(entry.get(2)));
    }
  } catch {
    throw new Error(`${name} is not an ONNX file, or is cut off`);
  }
  return pairs;
}

/** Numbers and bytes of a protobuf message's fields; of those that are numbers themselves, no bytes. */
function* fields(message: Uint8Array): Generator<[number, Uint8Array]> {
  let place = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[place++];
      if (byte === undefined) throw new RangeError("cut off");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (place < message.length) {
    const tag = varint();
    const kind = tag % 8;
    const start = place;
    if (kind === 0) varint();
    else if (kind === 1) place += 8;
    else if (kind === 5) place += 4;
    else if (kind === 2) {
      const length = varint();
      place += length;
      if (place > message.length) throw new RangeError("cut off");
      yield [Math.floor(tag / 8), message.subarray(place - length, place)];
      continue;
    } else throw new RangeError(`no wire type ${kind}`);
    yield [Math.floor(tag / 8), message.subarray(start, start)];
  }
}

function text(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes);
}
