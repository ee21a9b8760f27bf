// AVIF: libvips decodes the AV1 stream, and the colours are made here, as libavif makes them for Pillow.

import { readSequenceHeader } from './av1-header.js';
import { type AvifFile, type CodedPicture, type CodedTile, readAvif } from './avif-boxes.js';
import { checkSize, ImageDefect, type RgbImage } from './limits.js';
import { loadSharp } from './load-sharp.js';
import { type YuvPicture, yuvToRgb } from './yuv.js';

/**
 * As Pillow's: neither turned nor mirrored nor cut, alpha dropped.
 * @throws ImageDefect, UnsupportedImage, TooManyPixels, or what libvips says
 */
export async function decodeAvif(bytes: Buffer, maxPixels: number): Promise<RgbImage> {
  const file = readAvif(bytes);
  checkSize(file.colour.width, file.colour.height, maxPixels);
  const picture = await decodePicture(file.colour, maxPixels);
  const { width, height } = picture;
  const alpha =
    file.alpha === undefined || !file.isPremultiplied ? undefined : await decodeAlpha(file, file.alpha, maxPixels);
  const data = yuvToRgb(picture, file.meaning, file.alpha !== undefined);
  if (alpha !== undefined) divideByAlpha(data, alpha);
  return { data, width, height };
}

/** All tiles, put together. */
async function decodePicture(coded: CodedPicture, maxPixels: number): Promise<YuvPicture> {
  const { width, height, columns, tiles } = coded;
  const [first, ...others] = tiles as [CodedTile];
  checkSize(first.width, first.height, maxPixels);
  const { bits, ...kind } = kindOf(first);
  const data = bits === 8 ? new Uint8Array(width * height * 3) : new Uint16Array(width * height * 3);
  for (const [i, tile] of [first, ...others].entries()) {
    const of = kindOf(tile);
    if (
      of.bits !== bits ||
      of.isGrey !== kind.isGrey ||
      of.halfColumns !== kind.halfColumns ||
      of.halfRows !== kind.halfRows
    )
      throw new ImageDefect('tiles of several kinds');
    const samples = await decodeTile(tile, bits, maxPixels);
    const left = (i % columns) * tile.width;
    const top = Math.floor(i / columns) * tile.height;
    const row = Math.min(tile.width, width - left) * 3;
    for (let y = 0; y < tile.height && top + y < height; y++)
      data.set(samples.subarray(y * tile.width * 3, y * tile.width * 3 + row), ((top + y) * width + left) * 3);
  }
  return { data, width, height, bits, ...kind };
}

/** Depth and subsampling, from the third byte of av1C. */
function kindOf({ configuration }: CodedTile) {
  const flags = configuration[2];
  if (flags === undefined) throw new ImageDefect('an end within its header');
  return {
    bits: (flags & 64) === 0 ? 8 : (flags & 32) === 0 ? 10 : 12,
    isGrey: (flags & 16) !== 0,
    halfColumns: (flags & 8) !== 0,
    halfRows: (flags & 4) !== 0,
  };
}

/** (height, width, 3): Cr, Y, Cb. libvips is told that these are red, green and blue, and so leaves them as they are. */
async function decodeTile(tile: CodedTile, bits: number, maxPixels: number): Promise<Uint8Array | Uint16Array> {
  const stream = Buffer.concat(tile.data);
  const largest = readSequenceHeader(stream);
  checkSize(largest.width, largest.height, maxPixels);
  const sharp = await loadSharp();
  const image = sharp(wrap(tile, stream), {
    failOn: 'truncated',
    ignoreIcc: true,
    limitInputPixels: maxPixels,
  }).removeAlpha();
  if (bits === 8) image.toColourspace('srgb').raw();
  else image.toColourspace('rgb16').raw({ depth: 'ushort' });
  const { data, info } = await image.toBuffer({ resolveWithObject: true }).catch((error: unknown) => {
    throw new ImageDefect('an AV1 stream that cannot be decoded', { cause: error });
  });
  if (info.width !== tile.width || info.height !== tile.height || info.channels !== 3)
    throw new ImageDefect(
      `a picture of ${info.width}x${info.height} in its data, ${tile.width}x${tile.height} in its header`,
    );
  if (bits === 8) return data;
  const wide = new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
  return wide.map((value) => value >> (16 - bits));
}

/** An AVIF file of one tile, whose three channels are declared to be green, blue and red. */
function wrap({ width, height, configuration }: CodedTile, data: Buffer): Buffer {
  const head = box('ftyp', 'avif', u32(0), 'avifmif1miaf');
  const meta = (at: number) =>
    box(
      'meta',
      u32(0),
      box('hdlr', u32(0), u32(0), 'pict', u32(0), u32(0), u32(0), '\0'),
      box('pitm', u32(0), u16(1)),
      box('iloc', u32(0), u16(0x4400), u16(1), u16(1), u16(0), u16(1), u32(at), u32(data.length)),
      box('iinf', u32(0), u16(1), box('infe', u32(0x02000000), u16(1), u16(0), 'av01', '\0')),
      box(
        'iprp',
        box(
          'ipco',
          box('ispe', u32(0), u32(width), u32(height)),
          box('av1C', configuration),
          box('colr', 'nclx', u16(1), u16(13), u16(0), '\x80'),
        ),
        box('ipma', u32(0), u32(1), u16(1), '\x03\x01\x82\x03'),
      ),
    );
  const start = head.length + meta(0).length + 8;
  return Buffer.concat([head, meta(start), box('mdat', data)]);
}

function box(type: string, ...parts: (Buffer | string)[]): Buffer {
  const body = parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part));
  const length = body.reduce((sum, part) => sum + part.length, 8);
  return Buffer.concat([u32(length), Buffer.from(type, 'latin1'), ...body]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** One value a pixel, of 8 bits. */
async function decodeAlpha({ colour }: AvifFile, coded: CodedPicture, maxPixels: number): Promise<Uint8Array> {
  if (coded.width !== colour.width || coded.height !== colour.height)
    throw new ImageDefect('transparency of another size');
  const { data, bits } = await decodePicture(coded, maxPixels);
  return Uint8Array.from({ length: data.length / 3 }, (_, i) => (data[i * 3 + 1] as number) >> (bits - 8));
}

/** Colours without their alpha, as libyuv divides (ARGBUnattenuateRow): by a table of inverses, and to 0 beyond 15 bits. */
function divideByAlpha(rgb: Uint8Array, alpha: Uint8Array): void {
  const inverses = Uint16Array.from({ length: 256 }, (_, a) => Math.floor(65536 / a));
  inverses.set([0, 0xffff]);
  inverses[255] = 256;
  for (const [i, a] of alpha.entries()) {
    const inverse = inverses[a] as number;
    for (let o = i * 3; o < i * 3 + 3; o++) {
      const value = Math.floor(((rgb[o] as number) * 257 * inverse) / 65536);
      rgb[o] = value > 32767 ? 0 : Math.min(255, value);
    }
  }
}
