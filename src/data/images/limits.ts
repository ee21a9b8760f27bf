// What the decoders of images share: an image in memory, the largest that is read, and what is wrong with a file.

/** Pillow's limit: a larger image is taken for a decompression bomb. */
export const MAX_PIXELS = 178_956_970;

export interface RgbImage {
  /** (height, width, 3) uint8. */
  data: Uint8Array;
  width: number;
  height: number;
}

/** A file that is truncated or damaged; the message says in what, for the sentence that names the file. */
export class ImageDefect extends Error {}

/** A file that is sound, but of a kind that is not read; the message says of what. */
export class UnsupportedImage extends Error {}

/** An image of more pixels than are allowed. */
export class TooManyPixels extends Error {
  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    super(`${width}x${height} pixels`);
  }
}

/** Checks a size before anything of that size is allocated. @throws TooManyPixels, ImageDefect */
export function checkSize(width: number, height: number, maxPixels: number): void {
  if (width <= 0 || height <= 0) throw new ImageDefect(`a size of ${width}x${height}`);
  if (width * height > maxPixels) throw new TooManyPixels(width, height);
}

/** (height, width, 3) from one grey value a pixel. */
export function greyToRgb(grey: Uint8Array): Uint8Array {
  const rgb = new Uint8Array(grey.length * 3);
  for (let i = 0, o = 0; i < grey.length; i++, o += 3) {
    const value = grey[i] as number;
    rgb[o] = value;
    rgb[o + 1] = value;
    rgb[o + 2] = value;
  }
  return rgb;
}

/** (height, width, 3) from one index a pixel; the colours that a short `palette` lacks are black, as in Pillow. */
export function paletteToRgb(indices: Uint8Array, palette: Uint8Array): Uint8Array {
  const colours = new Uint8Array(768);
  colours.set(palette.subarray(0, 768));
  const rgb = new Uint8Array(indices.length * 3);
  for (let i = 0, o = 0; i < indices.length; i++, o += 3) {
    const c = (indices[i] as number) * 3;
    rgb[o] = colours[c] as number;
    rgb[o + 1] = colours[c + 1] as number;
    rgb[o + 2] = colours[c + 2] as number;
  }
  return rgb;
}

/** One value a pixel from rows of 1, 2, 4 or 8 bits a pixel, highest bits first, each row in bytes of its own. */
export function unpackBits(row: Uint8Array, bits: number, out: Uint8Array): void {
  if (bits === 8) {
    out.set(row.subarray(0, out.length));
    return;
  }
  const mask = (1 << bits) - 1;
  for (let x = 0; x < out.length; x++) {
    const at = x * bits;
    out[x] = ((row[at >> 3] as number) >> (8 - bits - (at & 7))) & mask;
  }
}
