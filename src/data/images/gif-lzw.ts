// The compressed pixels of a GIF frame. Takes and refuses what Pillow's decoder does: an early end code and empty blocks
// do not end the frame, only its last pixel does.
import { ImageDefect } from './limits.js';

/** Where the pixels of a frame go: a rectangle of `pixels`, whose rows are `stride` long. */
export interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
  pixels: Uint8Array;
  stride: number;
}

const TABLE = 4096;
const MAX_BITS = 12;
/** Pillow hands its decoder the file in parts of this size, each with what the decoder left of the one before. */
const PART = 65_536;

/** Decodes `data`, which begins with the first block, into `frame`. @throws ImageDefect */
export function lzwFrame(data: Uint8Array, codeBits: number, interlaced: boolean, frame: Frame): void {
  if (codeBits > MAX_BITS) throw new ImageDefect(`pixels of ${codeBits} bits`);
  const codes = new CodeReader(data);
  const rows = rowOrder(frame.height, interlaced);
  const { width, pixels, stride } = frame;
  const clear = 1 << codeBits;
  const end = clear + 1;
  const suffix = new Uint8Array(TABLE);
  const link = new Uint16Array(TABLE);
  const text = new Uint8Array(TABLE + 1); // of one code, written from its end
  let size = codeBits + 1;
  let next = clear + 2;
  let last = -1; // the code before; -1 after a clear code
  let lastFirst = 0; // the first pixel of what it stood for
  let row = 0;
  let x = 0;
  let out = (frame.top + rows.at(0)) * stride + frame.left;

  for (;;) {
    let code = codes.next(size);
    if (code === clear) {
      size = codeBits + 1;
      next = clear + 2;
      last = -1;
      continue;
    }
    if (code === end) {
      codes.nextPart();
      continue;
    }
    let start = text.length;
    if (last < 0) {
      if (code > clear) throw new ImageDefect('a wrong code');
      lastFirst = code & 255;
      last = code;
    } else {
      const whole = code;
      if (code > next) throw new ImageDefect('a wrong code');
      if (code === next) {
        text[--start] = lastFirst;
        code = last;
      }
      while (code >= clear) {
        if (start <= 1 || code >= TABLE) throw new ImageDefect('a wrong code');
        text[--start] = suffix[code] as number;
        code = link[code] as number;
      }
      lastFirst = code & 255;
      if (next < TABLE) {
        suffix[next] = lastFirst;
        link[next] = last;
        if (next === (1 << size) - 1 && size < MAX_BITS) size += 1;
        next += 1;
      }
      last = whole;
    }
    text[--start] = lastFirst;

    for (; start < text.length; start++) {
      pixels[out++] = text[start] as number;
      if (++x < width) continue;
      x = 0;
      if (++row === frame.height) return;
      out = (frame.top + rows.at(row)) * stride + frame.left;
    }
  }
}

/** The rows in the order in which they are stored. */
function rowOrder(height: number, interlaced: boolean): { at(row: number): number } {
  if (!interlaced) return { at: (row) => row };
  const order = new Uint16Array(height);
  let stored = 0;
  for (const [first, step] of [
    [0, 8],
    [4, 8],
    [2, 4],
    [1, 2],
  ] as const)
    for (let row = first; row < height; row += step) order[stored++] = row;
  return { at: (row) => order[row] as number };
}

/** The codes in the blocks of a frame. */
class CodeReader {
  #position = 0;
  #blockLeft = 0;
  #bits = 0;
  #bitCount = 0;
  /** How much of the data Pillow has read. */
  #read = PART;

  constructor(readonly data: Uint8Array) {}

  next(size: number): number {
    while (this.#bitCount < size) {
      if (this.#blockLeft > 0) {
        this.#bits |= (this.data[this.#position++] as number) << this.#bitCount;
        this.#bitCount += 8;
        this.#blockLeft -= 1;
      } else this.#nextBlock();
    }
    const code = this.#bits & ((1 << size) - 1);
    this.#bits >>>= size;
    this.#bitCount -= size;
    return code;
  }

  /** Blocks count only when they are whole. */
  #nextBlock(): void {
    const length = this.data[this.#position];
    if (length === undefined || this.#position + length >= this.data.length)
      throw new ImageDefect('an end within its pixels');
    while (this.#position + length >= this.#read) this.nextPart();
    this.#position += 1;
    this.#blockLeft = length;
  }

  /** After an end code Pillow continues if there is more to read. */
  nextPart(): void {
    if (this.#read >= this.data.length) throw new ImageDefect('an end within its pixels');
    this.#read += PART;
  }
}
