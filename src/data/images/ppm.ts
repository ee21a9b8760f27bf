// Portable bitmaps, greymaps and pixmaps (PBM, PGM, PPM, plain and raw, and grey PFM), as Pillow reads them.
import { checkSize, greyToRgb, ImageDefect, type RgbImage } from './limits.js';

const KINDS: Readonly<Record<string, { channels: 1 | 3; plain: boolean }>> = {
  P1: { channels: 1, plain: true },
  P2: { channels: 1, plain: true },
  P3: { channels: 3, plain: true },
  P4: { channels: 1, plain: false },
  P5: { channels: 1, plain: false },
  P6: { channels: 3, plain: false },
  Pf: { channels: 1, plain: false },
};

/** Whether the file begins as one of them does. */
export function isPpm(bytes: Buffer): boolean {
  return /^P[1-6f][\t-\r ]/.test(bytes.toString('latin1', 0, 3));
}

/** @throws ImageDefect where Pillow refuses the file, too; TooManyPixels */
export function decodePpm(bytes: Buffer, maxPixels: number): RgbImage {
  const kind = bytes.toString('latin1', 0, 2);
  const known = KINDS[kind];
  if (known === undefined) throw new ImageDefect('an unknown beginning');
  const { channels, plain } = known;
  const header = new Tokens(bytes, 3);
  const width = header.integer();
  const height = header.integer();
  if (kind === 'Pf') {
    const scale = Number(header.next());
    if (scale === 0 || !Number.isFinite(scale)) throw new ImageDefect('a wrong scale');
    checkSize(width, height, maxPixels);
    return { data: greyToRgb(floats(bytes, header.position, width, height, scale < 0)), width, height };
  }
  const bitonal = kind === 'P1' || kind === 'P4';
  const most = bitonal ? 1 : header.integer();
  if (most <= 0 || most >= 65_536) throw new ImageDefect(`a largest value of ${most}`);
  checkSize(width, height, maxPixels);

  const count = width * height * channels;
  let samples: Uint8Array;
  if (kind === 'P1') samples = plainBits(bytes, header.position, count);
  else if (kind === 'P4') samples = packedBits(bytes, header.position, width, height);
  else {
    // Grey of more than 8 bits is scaled to 16, and what exceeds 255 is cut off there: all that Pillow keeps of it.
    const scaledTo = most > 255 && channels === 1 ? 65_535 : 255;
    const table = new Uint8Array(most + 1).map((_, value) => Math.min(255, roundToEven((value / most) * scaledTo)));
    samples = new Uint8Array(count);
    const read = plain ? plainNumbers(bytes, header.position, most) : rawNumbers(bytes, header.position, most, count);
    // Raw samples above the largest are cut to white.
    for (let i = 0; i < count; i++) samples[i] = table[read(i)] ?? 255;
  }
  return { data: channels === 1 ? greyToRgb(samples) : samples, width, height };
}

/** Python's round: a half goes to the even neighbour. */
function roundToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

const isSpace = (byte: number | undefined) => byte !== undefined && (byte === 32 || (byte >= 9 && byte <= 13));
const isLineEnd = (byte: number | undefined) => byte === undefined || byte === 10 || byte === 13;

/** Words between white space; comments go from # to the end of the line, and may stand within a word. */
class Tokens {
  constructor(
    readonly bytes: Uint8Array,
    /** Of the next byte: after a word that of its first byte after the one white space. */
    public position: number,
  ) {}

  /** @throws ImageDefect at the end of the file, and for more than ten characters */
  next(): string {
    let word = '';
    while (word.length <= 10) {
      const byte = this.bytes[this.position++];
      if (byte === undefined) break;
      if (isSpace(byte)) {
        if (word === '') continue;
        return word;
      }
      if (byte === 0x23) {
        while (!isLineEnd(this.bytes[this.position++]));
        continue;
      }
      word += String.fromCharCode(byte);
    }
    if (word === '') throw new ImageDefect('an end where a number is due');
    if (word.length > 10) throw new ImageDefect('a number that is too long');
    return word;
  }

  integer(): number {
    const word = this.next();
    if (!/^[+-]?\d+(_\d+)*$/.test(word)) throw new ImageDefect('something else where a number is due');
    return Number(word.replaceAll('_', ''));
  }
}

/** The numbers of a plain file, to be asked for in order. */
function plainNumbers(bytes: Uint8Array, start: number, most: number): () => number {
  const tokens = new Tokens(bytes, start);
  return () => {
    const value = tokens.integer();
    if (value < 0 || value > most) throw new ImageDefect(`the value ${value} where ${most} is the largest`);
    return value;
  };
}

function rawNumbers(bytes: Buffer, start: number, most: number, count: number): (i: number) => number {
  const size = most < 256 ? 1 : 2;
  if (start + count * size > bytes.length) throw new ImageDefect('an end within its pixels');
  return size === 1 ? (i) => bytes[start + i] as number : (i) => bytes.readUInt16BE(start + i * 2);
}

/** Digits 0 and 1, with or without space between them; 1 is black. */
function plainBits(bytes: Uint8Array, start: number, count: number): Uint8Array {
  const samples = new Uint8Array(count);
  let done = 0;
  for (let at = start; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === 0x23) while (!isLineEnd(bytes[++at]));
    else if (byte === 0x30 || byte === 0x31) {
      if (done < count) samples[done++] = byte === 0x30 ? 255 : 0;
    } else if (!isSpace(byte)) throw new ImageDefect('something else than 0 and 1');
  }
  if (done < count) throw new ImageDefect('an end within its pixels');
  return samples;
}

/** Eight pixels a byte, each row in bytes of its own; 1 is black. */
function packedBits(bytes: Uint8Array, start: number, width: number, height: number): Uint8Array {
  const stride = Math.ceil(width / 8);
  if (start + stride * height > bytes.length) throw new ImageDefect('an end within its pixels');
  const samples = new Uint8Array(width * height);
  for (let y = 0, out = 0; y < height; y++)
    for (let x = 0; x < width; x++, out++) {
      const byte = bytes[start + y * stride + (x >> 3)] as number;
      samples[out] = ((byte >> (7 - (x & 7))) & 1) === 1 ? 0 : 255;
    }
  return samples;
}

/** Floating-point grey, from the bottom row up; cut off at 0 and 255. */
function floats(bytes: Buffer, start: number, width: number, height: number, littleEndian: boolean): Uint8Array {
  if (start + width * height * 4 > bytes.length) throw new ImageDefect('an end within its pixels');
  const samples = new Uint8Array(width * height);
  for (let y = height - 1, at = start; y >= 0; y--)
    for (let x = 0; x < width; x++, at += 4) {
      const value = littleEndian ? bytes.readFloatLE(at) : bytes.readFloatBE(at);
      samples[y * width + x] = Math.min(255, Math.max(0, value)); // NaN becomes 0
    }
  return samples;
}
