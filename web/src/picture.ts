/** Opens picture files, however large or broken they are. */

const MOST_BYTES = 60e6;
const MOST_PIXELS = 80e6; // four bytes each while the browser opens it
const AVIF_HEAD = 1 << 20; // bytes in which an AVIF file states its sizes
const LONGEST_SIDE = 1600; // faces are cut out of this

export interface Size {
  width: number;
  height: number;
}

export interface Opened {
  /** Upright as its camera held it, at most 1600 pixels long; to be closed. */
  picture: ImageBitmap;
  /** Of the original, upright too. */
  size: Size;
}

/**
 * The picture in a file.
 *
 * @throws Error with one sentence for people: too large, or no picture.
 */
export async function openPicture(file: File): Promise<Opened> {
  if (file.size > MOST_BYTES) {
    throw new Error(`${file.name} has ${megas(file.size)} MB; up to ${megas(MOST_BYTES)} MB can be opened`);
  }
  const stated = statedSize(new DataView(await file.arrayBuffer()));
  if (!stated) throw new Error(`${file.name} is not a JPEG, PNG, WebP, AVIF, GIF or BMP picture`);
  if (stated.width * stated.height > MOST_PIXELS) {
    throw new Error(
      `${file.name} is ${stated.width} × ${stated.height}; up to ${megas(MOST_PIXELS)} million pixels can be opened`,
    );
  }
  let whole: ImageBitmap;
  try {
    whole = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(`${file.name} is damaged: the browser cannot open it`);
  }
  const scale = LONGEST_SIDE / Math.max(whole.width, whole.height);
  const size = { width: whole.width, height: whole.height };
  if (scale >= 1) return { picture: whole, size };
  const smaller = await createImageBitmap(whole, {
    resizeWidth: Math.max(1, Math.round(whole.width * scale)),
    resizeHeight: Math.max(1, Math.round(whole.height * scale)),
    resizeQuality: "high",
  });
  whole.close();
  return { picture: smaller, size };
}

function megas(number: number): number {
  return Math.round(number / 1e6);
}

/** Width and height that a file states, so that a bomb is refused before it goes off. */
function statedSize(head: DataView): Size | null {
  try {
    const word = head.getUint32(0);
    if (word === 0x89504e47) return { width: head.getUint32(16), height: head.getUint32(20) }; // PNG
    if (word >>> 8 === 0xffd8ff) return jpegSize(head);
    if (word === 0x47494638) return { width: head.getUint16(6, true), height: head.getUint16(8, true) }; // GIF
    if (word === 0x52494646 && head.getUint32(8) === 0x57454250) return webpSize(head);
    if (head.getUint32(4) === 0x66747970) return avifSize(head);
    if (word >>> 16 === 0x424d) {
      return { width: Math.abs(head.getInt32(18, true)), height: Math.abs(head.getInt32(22, true)) }; // BMP
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // cut off before it says
  }
  return null;
}

function jpegSize(head: DataView): Size | null {
  for (let place = 2; ; ) {
    const marker = head.getUint16(place);
    if (marker < 0xff01) return null;
    if (marker === 0xffff) {
      place++; // a marker may be preceded by any number of these
      continue;
    }
    const frame = marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker);
    if (frame) return { width: head.getUint16(place + 7), height: head.getUint16(place + 5) };
    place += 2 + head.getUint16(place + 2);
  }
}

/** Of the largest image in the file: itself, its parts, a thumbnail. They are described in the first part of it. */
function avifSize(head: DataView): Size | null {
  if (![0x61766966, 0x61766973].includes(head.getUint32(8))) return null;
  let largest: Size | null = null;
  const end = Math.min(head.byteLength, AVIF_HEAD) - 16;
  for (let place = head.getUint32(0); place < end; place++) {
    if (head.getUint32(place) !== 0x69737065) continue; // "ispe", version and flags, width, height
    const size = { width: head.getUint32(place + 8), height: head.getUint32(place + 12) };
    if (!largest || size.width * size.height > largest.width * largest.height) largest = size;
  }
  return largest;
}

function webpSize(head: DataView): Size | null {
  const three = (place: number) => head.getUint16(place, true) + (head.getUint8(place + 2) << 16);
  const kind = head.getUint32(12);
  if (kind === 0x56503858) return { width: three(24) + 1, height: three(27) + 1 }; // VP8X
  if (kind === 0x5650384c) {
    const bits = head.getUint32(21, true); // VP8L
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  return { width: head.getUint16(26, true) & 0x3fff, height: head.getUint16(28, true) & 0x3fff }; // VP8
}
