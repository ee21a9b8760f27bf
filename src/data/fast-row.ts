// Finds the fields of an ordinary training row in its bytes, without a string or an object: COCO has 566,747 rows.
import { Byte, classes, type JsonReader, WORD } from './json-reader.js';

const STOP = 4;
const [IMAGE, CAPTION, IMAGE_ID] = ['image', 'caption', 'image_id'].map((name) => Buffer.from(name)) as [
  Buffer,
  Buffer,
  Buffer,
];

/** Where the fields of a row are, as positions in the reader's bytes. */
export interface RowPlaces {
  imageStart: number;
  imageEnd: number;
  captionStart: number;
  captionEnd: number;
  /** A string begins with its quotation mark, a number with a digit. */
  idStart: number;
  idEnd: number;
}

/**
 * Finds the places of a row {image, caption, image_id} of strings without escapes, where the caption has a letter or
 * digit; the id may be a whole number, and other fields strings and whole numbers. The reader is then behind the row. False,
 * and the reader where it was, for every other row, and for one that is not all there.
 */
export function fastRow(reader: JsonReader, places: RowPlaces): boolean {
  const { view, bytes } = reader;
  let at = spaceEnd(view, reader.pos);
  if (view.getUint8(at) !== Byte.openObject) return false;
  places.imageStart = places.captionStart = places.idStart = -1;
  let hasWord = false;
  do {
    at = spaceEnd(view, at + 1);
    if (view.getUint8(at) !== Byte.quote) return false;
    const key = at + 1;
    at = stringEnd(view, key) & ENDS;
    if (view.getUint8(at) !== Byte.quote) return false;
    const keyEnd = at;
    at = spaceEnd(view, at + 1);
    if (view.getUint8(at) !== Byte.colon) return false;
    at = spaceEnd(view, at + 1);
    const start = at;
    const first = view.getUint8(at);
    if (first === Byte.quote) {
      const found = stringEnd(view, at + 1);
      at = found & ENDS;
      if (view.getUint8(at) !== Byte.quote) return false;
      if (is(bytes, key, keyEnd, CAPTION)) {
        places.captionStart = start + 1;
        places.captionEnd = at;
        hasWord = found < 0;
      } else if (is(bytes, key, keyEnd, IMAGE)) {
        places.imageStart = start + 1;
        places.imageEnd = at;
      } else if (is(bytes, key, keyEnd, IMAGE_ID)) {
        places.idStart = start;
        places.idEnd = at;
      }
      at++;
    } else if (first > Byte.zero && first <= Byte.nine) {
      while (isDigit(view.getUint8(at))) at++;
      if (is(bytes, key, keyEnd, IMAGE_ID)) {
        places.idStart = start;
        places.idEnd = at;
      } else if (is(bytes, key, keyEnd, CAPTION) || is(bytes, key, keyEnd, IMAGE)) return false;
    } else return false;
    at = spaceEnd(view, at);
  } while (view.getUint8(at) === Byte.comma);
  if (view.getUint8(at) !== Byte.closeObject || !hasWord) return false;
  if (places.imageStart < 0 || places.captionStart < 0 || places.idStart < 0) return false;
  const emptyId = view.getUint8(places.idStart) === Byte.quote && places.idEnd - places.idStart === 1;
  if (places.imageStart === places.imageEnd || emptyId) return false;
  reader.pos = at + 1;
  return true;
}

/** A position, and in the sign bit whether the string has a letter or digit. */
const ENDS = 0x7fffffff;

/** Where the run of ordinary characters from `at` on ends. */
function stringEnd(view: DataView, from: number): number {
  let seen = 0;
  for (let at = from; ; at++) {
    const kind = classes.getUint8(view.getUint8(at));
    if (kind === STOP) return (seen & WORD) === 0 ? at : at | ~ENDS;
    seen |= kind;
  }
}

function spaceEnd(view: DataView, from: number): number {
  let at = from;
  for (;;) {
    const byte = view.getUint8(at);
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return at;
    at++;
  }
}

function is(bytes: Buffer, start: number, end: number, name: Buffer): boolean {
  if (end - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
  return true;
}

function isDigit(byte: number): boolean {
  return byte >= Byte.zero && byte <= Byte.nine;
}
