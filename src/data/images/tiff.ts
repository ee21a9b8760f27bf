// What the header of a TIFF file says of its first image's samples, which decides how Pillow turns them into RGB.
import { counted } from '../../logging/text.js';
import { ImageDefect, UnsupportedImage } from './limits.js';

export interface TiffSamples {
  bits: number;
  /** 1 unsigned, 2 signed, 3 floating point. */
  format: number;
  /** 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, 8 Lab. */
  photometric: number;
}

const TAG = { bits: 258, photometric: 262, format: 339 } as const;

/** Bytes of a value, by the type's number. */
const SIZES: Readonly<Record<number, 1 | 2 | 4 | 8>> = { 1: 1, 3: 2, 4: 4, 16: 8 };

const MOST_ENTRIES = 4096;

/** Reads classic and big TIFF. @throws ImageDefect for a header that leads nowhere; UnsupportedImage as Pillow */
export function readTiffSamples(bytes: Buffer): TiffSamples {
  const little = bytes[0] === 0x49;
  const read = (at: number, size: 1 | 2 | 4 | 8): number => {
    if (!(at >= 0 && at + size <= bytes.length)) throw new ImageDefect('an end within its header');
    if (size === 8) return Number(little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at));
    return little ? bytes.readUIntLE(at, size) : bytes.readUIntBE(at, size);
  };
  const big = read(2, 2) === 43;
  const wide = big ? 8 : 4;
  const directory = read(big ? 8 : 4, wide);
  const count = read(directory, big ? 8 : 2);
  if (count > MOST_ENTRIES) throw new ImageDefect(`${counted(count, 'entry')} in its header`);
  const tags = new Map<number, number[]>();
  for (let i = 0; i < count; i++) {
    const at = directory + (big ? 8 : 2) + i * (4 + 2 * wide);
    const tag = read(at, 2);
    const size = SIZES[read(at + 2, 2)];
    if (!Object.values<number>(TAG).includes(tag) || size === undefined) continue;
    const values = Math.min(read(at + 4, wide), 16);
    const inline = at + 4 + wide;
    const from = values * size <= wide ? inline : read(inline, wide);
    tags.set(
      tag,
      Array.from({ length: values }, (_, v) => read(from + v * size, size)),
    );
  }
  const first = (tag: number, otherwise: number) => tags.get(tag)?.[0] ?? otherwise;
  const result = {
    bits: first(TAG.bits, 1),
    format: first(TAG.format, 1),
    photometric: first(TAG.photometric, 0),
  };
  const { bits, format, photometric } = result;
  if (photometric === 8) throw new UnsupportedImage('a TIFF image in Lab colours');
  // Most are between 0 and 1, which 8 bits would show as black.
  const kind = format === 3 ? 'float' : bits > 32 ? `${bits}-bit integer` : undefined;
  if (kind !== undefined)
    throw new UnsupportedImage(`TIFF samples of type ${kind}, which must be converted to 8 bits first`);
  return result;
}
