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
const MODEL_METADATA = 14; // ModelProto.metadata_props: StringStringEntryProto { key = 1; value = 2 }

/**
 * Facts from the bytes of an ONNX file made by export.py.
 *
 * @throws Error with one sentence for people: not such a file, or of a newer format.
 */
export function readFacts(file: Uint8Array, name: string): NetworkFacts {
  const text = metadata(file, name).get(KEY);
  if (text === undefined) throw new Error(`${name} does not say which expressions it knows; make it with export.py`);
  const said = JSON.parse(text);
  if (said.format !== FORMAT) {
    throw new Error(`${name} is of format ${said.format}; this page reads format ${FORMAT}`);
  }
  return {
    run: String(said.run),
    arch: String(said.arch),
    classes: said.classes.map(String),
    imageSize: Number(said.image_size),
    channels: said.channels === 1 ? 1 : 3,
    unsureBelow: Number(said.unsure_below ?? 0),
    frame: said.crop?.eyes && said.crop.mouth ? frameOf(said.crop.eyes, said.crop.mouth) : null,
    hasMaps: said.cam != null,
  };
}

function frameOf(eyes: number[][], mouth: number[]): Frame {
  const [left, right, low] = [...eyes, mouth].map(([x, y]) => ({ x, y }));
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
