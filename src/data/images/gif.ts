// The first frame of a GIF file, as Pillow shows it: on a canvas of the transparent colour, or else of colour 0; what is
// transparent keeps the colour of its palette.

import { type Frame, lzwFrame } from './gif-lzw.js';
import { checkSize, greyToRgb, ImageDefect, paletteToRgb, type RgbImage } from './limits.js';

/** @throws ImageDefect where Pillow refuses the file, too; TooManyPixels */
export function decodeGif(bytes: Buffer, maxPixels: number): RgbImage {
  const reader = new Reader(bytes);
  reader.skip(6); // GIF87a, GIF89a
  const screen = { width: reader.uint16(), height: reader.uint16() };
  const flags = reader.byte();
  reader.skip(2); // background colour, aspect ratio: Pillow's first frame does not use them
  const globalPalette = reader.palette(flags);
  const transparent = readExtensions(reader);

  // ---- the frame: Pillow's canvas grows where the frame leaves it
  const [left, top] = [reader.uint16(), reader.uint16()];
  const frame = { left, top, width: reader.uint16(), height: reader.uint16() };
  const width = Math.max(screen.width, left + frame.width);
  const height = Math.max(screen.height, top + frame.height);
  checkSize(width, height, maxPixels);
  if (frame.width === 0 || frame.height === 0) throw new ImageDefect('an empty frame');
  const frameFlags = reader.byte();
  const localPalette = reader.palette(frameFlags);
  const codeBits = reader.byte();
  const pixels = new Uint8Array(width * height).fill(transparent ?? 0);
  const interlaced = (frameFlags & 0x40) !== 0;
  lzwFrame(bytes.subarray(reader.position), codeBits, interlaced, { ...frame, pixels, stride: width } satisfies Frame);

  // A palette that only counts up is no palette to Pillow; where a local one is, the global one holds, if it is one.
  const colours = [localPalette, globalPalette].find((palette) => palette !== undefined && !countsUp(palette));
  return { data: colours === undefined ? greyToRgb(pixels) : paletteToRgb(pixels, colours), width, height };
}

/** Reads to the first frame and gives its transparent colour, if it has one. */
function readExtensions(reader: Reader): number | undefined {
  let transparent: number | undefined;
  for (;;) {
    const introducer = reader.byteOrEnd();
    if (introducer === 0x2c) return transparent;
    if (introducer === undefined || introducer === 0x3b) throw new ImageDefect('no frame in it');
    if (introducer !== 0x21) continue; // Pillow passes over bytes between blocks
    const label = reader.byte();
    let block = reader.block();
    if (label === 0xf9 && block !== undefined) {
      if (block.length < 3) throw new ImageDefect('a short graphic control block');
      const [flags = 0, , , index] = block;
      if ((flags & 1) !== 0) {
        if (index === undefined) throw new ImageDefect('a short graphic control block');
        transparent = index;
      }
    } else if (label === 0xfe && block === undefined) {
      continue; // an empty comment ends with its first block, other extensions with their next empty one
    } else if (label === 0xff && block?.toString('latin1').startsWith('NETSCAPE2.0')) {
      reader.block();
    }
    do block = reader.block();
    while (block !== undefined && block.length > 0);
  }
}

/** Whether entry i is the grey i throughout. */
function countsUp(palette: Uint8Array): boolean {
  return palette.every((value, i) => value === Math.floor(i / 3));
}

class Reader {
  position = 0;

  constructor(readonly bytes: Buffer) {}

  skip(count: number): void {
    this.position += count;
  }

  byteOrEnd(): number | undefined {
    return this.bytes[this.position++];
  }

  byte(): number {
    const value = this.byteOrEnd();
    if (value === undefined) throw new ImageDefect('an end within its header');
    return value;
  }

  uint16(): number {
    return this.byte() + this.byte() * 256;
  }

  /** A data block; undefined for an empty one and at the end. */
  block(): Buffer | undefined {
    const length = this.byteOrEnd();
    if (length === undefined || length === 0) return undefined;
    const block = this.bytes.subarray(this.position, this.position + length);
    this.position += length;
    return block;
  }

  /** The palette that `flags` announce. */
  palette(flags: number): Uint8Array | undefined {
    if ((flags & 0x80) === 0) return undefined;
    const length = 3 << ((flags & 7) + 1);
    const palette = this.bytes.subarray(this.position, this.position + length);
    if (palette.length < length) throw new ImageDefect('an end within its palette');
    this.position += length;
    return palette;
  }
}
