// What Pillow checks of a PNG file, and the decoding of those that it takes and libpng does not: files that end behind
// their last row, or have a wrong checksum there.
import { crc32, createInflate, inflateSync, constants as zlib } from 'node:zlib';
import { codeOf } from '../../errors.js';
import {
  checkSize,
  greyToRgb,
  ImageDefect,
  paletteToRgb,
  type RgbImage,
  UnsupportedImage,
  unpackBits,
} from './limits.js';

/** Samples of a pixel, by colour type, and the depths that it may have. */
const TYPES: Readonly<Record<number, { channels: number; depths: readonly number[] }>> = {
  0: { channels: 1, depths: [1, 2, 4, 8, 16] },
  2: { channels: 3, depths: [8, 16] },
  3: { channels: 1, depths: [1, 2, 4, 8] },
  4: { channels: 2, depths: [8, 16] },
  6: { channels: 4, depths: [8, 16] },
};

/** Adam7: first column and row, steps. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

export interface Png {
  width: number;
  height: number;
  depth: number;
  type: number;
  interlaced: boolean;
  palette: Uint8Array;
  /** The compressed rows. */
  data: Buffer[];
}

/** @throws ImageDefect, UnsupportedImage where Pillow refuses the rows, too */
export async function decodePng(png: Png): Promise<RgbImage> {
  const { width, height, depth, type, interlaced, palette } = png;
  const channels = (TYPES[type] as { channels: number }).channels;
  const passes = (interlaced ? PASSES : ([[0, 0, 1, 1]] as const)).map(([left, top, stepX, stepY]) => {
    const [columns, rows] = [Math.ceil((width - left) / stepX), Math.ceil((height - top) / stepY)];
    const rowBytes = columns > 0 ? Math.ceil((columns * channels * depth) / 8) : 0;
    return { left, top, stepX, stepY, columns, rows: columns > 0 ? Math.max(0, rows) : 0, rowBytes };
  });
  const needed = passes.reduce((sum, { rows, rowBytes }) => sum + rows * (rowBytes + 1), 0);
  const { rows: inflated, ended } = await inflate(Buffer.concat(png.data), needed);

  // One sample of 8 bits for each channel; rows that are not there stay 0.
  const samples = new Uint8Array(width * height * channels);
  let at = 0;
  for (const { left, top, stepX, stepY, columns, rows, rowBytes } of passes) {
    let above: Uint8Array = new Uint8Array(rowBytes);
    const line = new Uint8Array(columns * channels);
    for (let row = 0; row < rows; row++) {
      if (at + 1 + rowBytes > inflated.length) {
        // The data may end early, but only between rows, and by a proper end.
        if (!ended || at !== inflated.length) throw new ImageDefect('an end within its pixels');
        break;
      }
      const current = inflated.subarray(at + 1, at + 1 + rowBytes);
      unfilter(inflated[at] as number, current, above, Math.max(1, (channels * depth) >> 3));
      at += 1 + rowBytes;
      above = current;
      if (depth === 16) upperBytes(current, line, type);
      else unpackBits(current, depth, line);
      const start = (top + row * stepY) * width;
      for (let x = 0; x < columns; x++)
        for (let c = 0; c < channels; c++)
          samples[(start + left + x * stepX) * channels + c] = line[x * channels + c] as number;
    }
  }
  return { data: toRgb(samples, type, depth, channels, palette), width, height };
}

/**
 * Reads what Pillow reads: all chunks up to the rows with their checksums, and those behind them without.
 * @throws ImageDefect, UnsupportedImage where Pillow refuses the file, too; TooManyPixels
 */
export function readPng(bytes: Buffer, maxPixels: number): Png {
  let header: Buffer | undefined;
  let palette: Uint8Array = new Uint8Array(0);
  const parts: Buffer[] = [];
  let behind = false;
  for (let at = 8; ; ) {
    const name = bytes.toString('latin1', at + 4, at + 8);
    if (!/^\w{4}$/.test(name)) {
      if (parts.length === 0) throw new ImageDefect('an end before its pixels');
      break; // what comes after the rows may be cut off
    }
    const length = bytes.readUInt32BE(at);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (name === 'IEND') break;
    if (name === 'IDAT' && !behind) {
      if (parts.length === 0) checkHeader(header, maxPixels);
      parts.push(body);
    } else {
      behind = parts.length > 0;
      if (body.length < length) throw new ImageDefect(`an end within its ${name} chunk`);
      if (name === 'IHDR' && length === 13) checkHeader(body, maxPixels); // a size before a checksum
      if (!behind && crc32(bytes.subarray(at + 4, at + 8 + length)) !== checksum(bytes, at + 8 + length))
        throw new ImageDefect(`a wrong checksum of its ${name} chunk`);
      if (name === 'IHDR') header = body;
      if (name === 'PLTE' && !behind) palette = body;
    }
    at += 12 + length;
  }
  const [width, height, depth, type, interlaced] = checkHeader(header, maxPixels);
  return { width, height, depth, type, interlaced, palette, data: parts };
}

function checksum(bytes: Buffer, at: number): number {
  if (at + 4 > bytes.length) throw new ImageDefect('an end before its pixels');
  return bytes.readUInt32BE(at);
}

function checkHeader(
  header: Buffer | undefined,
  maxPixels: number,
): [width: number, height: number, depth: number, type: number, interlaced: boolean] {
  if (header === undefined || header.length < 13) throw new ImageDefect('no header');
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const [depth = 0, type = 0, , filters, interlace] = header.subarray(8);
  if (filters !== 0) throw new ImageDefect('an unknown kind of filters');
  if (TYPES[type]?.depths.includes(depth) !== true)
    throw new UnsupportedImage(`a PNG image of colour type ${type} and ${depth} bits`);
  checkSize(width, height, maxPixels);
  return [width, height, depth, type, interlace !== 0];
}

/** The first `needed` bytes of the data, or what there is of them, and whether the data end there properly. */
async function inflate(data: Buffer, needed: number): Promise<{ rows: Uint8Array; ended: boolean }> {
  const most = { maxOutputLength: needed + 65_536 };
  try {
    return { rows: inflateSync(data, most), ended: true };
  } catch (error) {
    if (codeOf(error) === 'ERR_BUFFER_TOO_LARGE') return { rows: await firstBytes(data, needed), ended: false };
    if (codeOf(error) !== 'Z_BUF_ERROR') throw new ImageDefect('damaged pixels');
  }
  return { rows: inflateSync(data, { ...most, finishFlush: zlib.Z_SYNC_FLUSH }), ended: false };
}

async function firstBytes(data: Buffer, needed: number): Promise<Uint8Array> {
  const stream = createInflate();
  stream.end(data);
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of stream as AsyncIterable<Buffer>) {
      parts.push(part);
      length += part.length;
      if (length >= needed) break; // which ends the stream
    }
  } catch {
    throw new ImageDefect('damaged pixels');
  }
  return Buffer.concat(parts).subarray(0, needed);
}

/** Undoes the filter of a row, in place; `above` is the row before, `step` the bytes of a pixel. */
function unfilter(filter: number, row: Uint8Array, above: Uint8Array, step: number): void {
  const get = (line: Uint8Array, i: number) => (i < 0 ? 0 : (line[i] as number));
  switch (filter) {
    case 0:
      return;
    case 1:
      for (let i = step; i < row.length; i++) row[i] = get(row, i) + get(row, i - step);
      return;
    case 2:
      for (let i = 0; i < row.length; i++) row[i] = get(row, i) + get(above, i);
      return;
    case 3:
      for (let i = 0; i < row.length; i++) row[i] = get(row, i) + ((get(row, i - step) + get(above, i)) >> 1);
      return;
    case 4:
      for (let i = 0; i < row.length; i++)
        row[i] = get(row, i) + paeth(get(row, i - step), get(above, i), get(above, i - step));
      return;
    default:
      throw new ImageDefect(`the unknown filter ${filter}`);
  }
}

function paeth(left: number, above: number, corner: number): number {
  const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

/** Of 16-bit samples; grey is cut off at 255, all else keeps its upper bytes. */
function upperBytes(row: Uint8Array, out: Uint8Array, type: number): void {
  for (let i = 0; i < out.length; i++) {
    const high = row[i * 2] as number;
    out[i] = type === 0 ? (high > 0 ? 255 : (row[i * 2 + 1] as number)) : high;
  }
}

function toRgb(samples: Uint8Array, type: number, depth: number, channels: number, palette: Uint8Array): Uint8Array {
  if (type === 3) return paletteToRgb(samples, palette);
  if (type === 0) return greyToRgb(depth < 8 ? samples.map((value) => (value * 255) / (2 ** depth - 1)) : samples);
  if (channels === 3) return samples;
  const rgb = new Uint8Array((samples.length / channels) * 3);
  for (let i = 0, o = 0; o < rgb.length; i += channels, o += 3)
    for (let c = 0; c < 3; c++) rgb[o + c] = samples[i + (channels === 4 ? c : 0)] as number;
  return rgb;
}
