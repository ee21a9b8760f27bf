// Windows bitmaps, as Pillow reads them: palettes of 1, 4 and 8 bits, 16, 24 and 32 bits, run lengths, upside down or not.
import { decodeRuns } from './bmp-runs.js';
import {
  checkSize,
  greyToRgb,
  ImageDefect,
  paletteToRgb,
  type RgbImage,
  UnsupportedImage,
  unpackBits,
} from './limits.js';

const COMPRESSION = { none: 0, rle8: 1, rle4: 2, bitFields: 3 } as const;

/** Where R, G and B are among the bytes of a pixel, by depth and masks. Other masks are refused, as by Pillow. */
const LAYOUTS: Readonly<Record<string, readonly [r: number, g: number, b: number]>> = {
  '24 ff0000 ff00 ff': [2, 1, 0],
  '32 ff0000 ff00 ff 0': [2, 1, 0],
  '32 ff000000 ff0000 ff00 0': [3, 2, 1],
  '32 ff000000 ff00 ff 0': [3, 1, 0],
  '32 ff000000 ff0000 ff00 ff': [3, 2, 1],
  '32 ff ff00 ff0000 ff000000': [0, 1, 2],
  '32 ff0000 ff00 ff ff000000': [2, 1, 0],
  '32 ff000000 ff00 ff ff0000': [3, 1, 0],
  '32 0 0 0 0': [2, 1, 0],
};

interface Header {
  width: number;
  height: number;
  /** Rows are stored from the top; usually they are from the bottom. */
  fromTop: boolean;
  bits: number;
  compression: number;
  /** R, G, B and alpha; none without bit fields. */
  masks: number[];
  colours: number;
  /** Bytes of a colour in the palette. */
  colourBytes: 3 | 4;
  /** Where header and masks end and the palette may begin. */
  end: number;
}

/** @throws ImageDefect, UnsupportedImage where Pillow refuses the file, too; TooManyPixels */
export function decodeBmp(bytes: Buffer, maxPixels: number): RgbImage {
  const header = readHeader(bytes);
  const { width, height, bits, compression } = header;
  checkSize(width, height, maxPixels);
  if (![1, 4, 8, 16, 24, 32].includes(bits)) throw new UnsupportedImage(`a BMP image of ${bits} bits a pixel`);
  const stored = bytes.readUInt32LE(10);
  if (bits > 8) return { data: colourRows(bytes, header, stored === 0 ? header.end : stored), width, height };

  if (compression === COMPRESSION.bitFields) throw new UnsupportedImage('a BMP image with bit fields and a palette');
  const paletteBytes = header.colourBytes * header.colours;
  if (header.colours > 65_536) throw new UnsupportedImage(`a BMP image with ${header.colours} colours`);
  const palette = bytes.subarray(header.end, header.end + paletteBytes);
  const isGrey = greyPalette(palette, header);
  if (!isGrey && palette.length > 256 * header.colourBytes)
    throw new UnsupportedImage(`a BMP image with ${header.colours} colours`);
  // Some files give the place of the palette as that of the pixels.
  const start = stored === 0 || stored === header.end ? header.end + paletteBytes : stored;

  // Where a palette is black and white, or counts up in grey, Pillow reads the samples as grey.
  const black = isGrey && header.colours <= 2;
  const toImage = (indices: Uint8Array): RgbImage => {
    const grey = black ? indices.map((value) => (value === 0 ? 0 : 255)) : indices;
    return { data: isGrey ? greyToRgb(grey) : paletteToRgb(indices, rgbPalette(palette, header)), width, height };
  };
  if (compression === COMPRESSION.rle8 || compression === COMPRESSION.rle4) {
    const indices = decodeRuns(bytes, start, width, height, compression === COMPRESSION.rle4);
    return toImage(header.fromTop ? indices : flipped(indices, width));
  }
  const sampleBits = black ? 1 : isGrey ? 8 : bits;
  const indices = new Uint8Array(width * height);
  eachRow(bytes, header, start, sampleBits, (row, y) =>
    unpackBits(row, sampleBits, indices.subarray(y * width, (y + 1) * width)),
  );
  return toImage(indices);
}

function readHeader(bytes: Buffer): Header {
  if (bytes.length < 18) throw new ImageDefect('an end within its header');
  const size = bytes.readUInt32LE(14);
  if (![12, 40, 52, 56, 64, 108, 124].includes(size))
    throw new UnsupportedImage(`a BMP image with a header of ${size} bytes`);
  const end = 14 + size;
  if (bytes.length < end) throw new ImageDefect('an end within its header');
  if (size === 12) {
    const [width, height, , bits] = [18, 20, 22, 24].map((at) => bytes.readUInt16LE(at)) as [
      number,
      number,
      number,
      number,
    ];
    return { width, height, fromTop: false, bits, compression: 0, masks: [], colours: 2 ** bits, colourBytes: 3, end };
  }
  const fromTop = bytes[25] === 0xff;
  const height = bytes.readUInt32LE(22);
  const bits = bytes.readUInt16LE(28);
  const compression = bytes.readUInt32LE(30);
  const named = bytes.readUInt32LE(46);
  const masks: number[] = [];
  let maskEnd = end;
  if (compression === COMPRESSION.bitFields) {
    const count = size >= 56 ? 4 : 3;
    if (size === 40) maskEnd += 12; // they follow the header
    if (bytes.length < 54 + 4 * count) throw new ImageDefect('an end within its header');
    for (let i = 0; i < 4; i++) masks.push(i < count ? bytes.readUInt32LE(54 + 4 * i) : 0);
  }
  return {
    width: bytes.readUInt32LE(18),
    height: fromTop ? 2 ** 32 - height : height,
    fromTop,
    bits,
    compression,
    masks,
    colours: named === 0 ? 2 ** bits : named,
    colourBytes: 4,
    end: maskEnd,
  };
}

function greyPalette(palette: Buffer, { colours, colourBytes }: Header): boolean {
  for (let i = 0; i < colours; i++) {
    const grey = colours === 2 ? i * 255 : i & 255;
    for (let c = 0; c < 3; c++) if (palette[i * colourBytes + c] !== grey) return false;
  }
  return true;
}

/** BGR or BGRX to RGB. */
function rgbPalette(palette: Buffer, { colourBytes }: Header): Uint8Array {
  const rgb = new Uint8Array(Math.floor(palette.length / colourBytes) * 3);
  for (let i = 0; i * 3 < rgb.length; i++)
    for (let c = 0; c < 3; c++) rgb[i * 3 + c] = palette[i * colourBytes + 2 - c] as number;
  return rgb;
}

/** Calls `take` with the samples of each row, y counted from the top of the image. */
function eachRow(
  bytes: Buffer,
  { width, height, bits, fromTop, compression }: Header,
  start: number,
  sampleBits: number,
  take: (row: Uint8Array, y: number) => void,
): void {
  if (compression !== COMPRESSION.none && compression !== COMPRESSION.bitFields)
    throw new UnsupportedImage(`a BMP image with compression ${compression}`);
  const stride = Math.floor((width * bits + 31) / 32) * 4;
  const rowBytes = Math.ceil((width * sampleBits) / 8);
  if (rowBytes > stride) throw new ImageDefect('rows that overlap');
  if (start + (height - 1) * stride + rowBytes > bytes.length) throw new ImageDefect('an end within its pixels');
  for (let i = 0; i < height; i++) {
    const at = start + i * stride;
    take(bytes.subarray(at, at + rowBytes), fromTop ? i : height - 1 - i);
  }
}

/** (height, width, 3) of an image of 16, 24 or 32 bits a pixel. */
function colourRows(bytes: Buffer, header: Header, start: number): Uint8Array {
  const { width, height, bits, compression, masks } = header;
  const rgb = new Uint8Array(width * height * 3);
  const given = masks.slice(0, bits === 32 ? 4 : 3).map((mask) => mask.toString(16));
  const layout = compression === COMPRESSION.bitFields ? LAYOUTS[[bits, ...given].join(' ')] : ([2, 1, 0] as const);
  if (bits === 16) {
    const isWide = given.join(' ') === 'f800 7e0 1f'; // six bits of green
    if (given.length > 0 && !isWide && given.join(' ') !== '7c00 3e0 1f')
      throw new UnsupportedImage(`a BMP image with bit fields ${given.join(' ')}`);
    const [redShift, greens] = isWide ? [11, 63] : [10, 31];
    eachRow(bytes, header, start, bits, (row, y) => {
      for (let x = 0, out = y * width * 3; x < width; x++, out += 3) {
        const pixel = (row[x * 2] as number) | ((row[x * 2 + 1] as number) << 8);
        rgb[out] = Math.trunc((((pixel >> redShift) & 31) * 255) / 31);
        rgb[out + 1] = Math.trunc((((pixel >> 5) & greens) * 255) / greens);
        rgb[out + 2] = Math.trunc(((pixel & 31) * 255) / 31);
      }
    });
    return rgb;
  }
  if (layout === undefined) throw new UnsupportedImage(`a BMP image with bit fields ${given.join(' ')}`);
  const [r, g, b] = layout;
  const step = bits / 8;
  eachRow(bytes, header, start, bits, (row, y) => {
    for (let x = 0, at = 0, out = y * width * 3; x < width; x++, at += step, out += 3) {
      rgb[out] = row[at + r] as number;
      rgb[out + 1] = row[at + g] as number;
      rgb[out + 2] = row[at + b] as number;
    }
  });
  return rgb;
}

/** The rows of one byte a pixel in the opposite order. */
function flipped(rows: Uint8Array, width: number): Uint8Array {
  const out = new Uint8Array(rows.length);
  for (let at = 0; at < rows.length; at += width) out.set(rows.subarray(at, at + width), rows.length - at - width);
  return out;
}
