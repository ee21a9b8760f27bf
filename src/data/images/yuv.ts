// Luma and chroma to RGB in the integer arithmetic of libyuv, which libavif, and so Pillow, uses (libyuv's row_common.cc).
import type { ColourMeaning } from './av1-header.js';
import { ImageDefect, UnsupportedImage } from './limits.js';

/** A decoded picture: at each pixel Cr, Y and Cb, chroma being that of the sample that covers the pixel. */
export interface YuvPicture {
  /** (height, width, 3), each of `bits` bits. */
  data: Uint8Array | Uint16Array;
  width: number;
  height: number;
  bits: number;
  isGrey: boolean;
  /** Whether chroma has half the columns, half the rows. */
  halfColumns: boolean;
  halfRows: boolean;
}

/** Factors in 64ths; `scale` and `bias` are of luma. */
interface Factors {
  ub: number;
  ug: number;
  vg: number;
  vr: number;
  scale: number;
  bias: number;
}

const FULL = { scale: 16320, bias: 32 };
const LIMITED = { scale: 18997, bias: -1160 };

const BT601 = 6;
const BT709 = 1;
const BT2020 = 9;

const FACTORS: Readonly<Record<number, { full: Factors; limited: Factors }>> = {
  [BT601]: {
    full: { ub: 113, ug: 22, vg: 46, vr: 90, ...FULL },
    limited: { ub: 128, ug: 25, vg: 52, vr: 102, ...LIMITED },
  },
  [BT709]: {
    full: { ub: 119, ug: 12, vg: 30, vr: 101, ...FULL },
    limited: { ub: 128, ug: 14, vg: 34, vr: 115, ...LIMITED },
  },
  [BT2020]: {
    full: { ub: 120, ug: 11, vg: 37, vr: 94, ...FULL },
    limited: { ub: 128, ug: 12, vg: 42, vr: 107, ...LIMITED, scale: 19003 },
  },
};

const IDENTITY = 0;
const UNSPECIFIED = 2;
const BT470BG = 5;
const CHROMA_DERIVED = 12;

function matrixOf({ matrix, primaries }: ColourMeaning): number {
  const one = matrix === CHROMA_DERIVED ? primaries : matrix;
  if (matrix === CHROMA_DERIVED && primaries === UNSPECIFIED) return BT709;
  return one === UNSPECIFIED || one === BT470BG ? BT601 : one;
}

/**
 * (height, width, 3) of 8 bits.
 * @param hasAlpha as libavif has other arithmetic for images with transparency: more than 8 bits are used then, and grey is of integers
 */
export function yuvToRgb(picture: YuvPicture, meaning: ColourMeaning, hasAlpha: boolean): Uint8Array {
  if (picture.isGrey) return greyPicture(picture, meaning, hasAlpha);
  if (meaning.matrix === IDENTITY) return identityPicture(picture, meaning);
  const { width, height, bits } = picture;
  const factors = factorsOf(meaning);
  const isWide = hasAlpha && (bits === 10 || (bits === 12 && picture.halfRows));
  const source = isWide ? picture : { ...picture, data: toBytes(picture), bits: 8 };
  const luma = lumaTable(factors, source.bits);
  const shift = source.bits - 8;
  // The function for 12 bits repeats chroma.
  const isSmooth = !(isWide && bits === 12);
  const [us, vs] = [new Int32Array(width), new Int32Array(width)];
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0, o = 0; y < height; y++) {
    chromaRow(source, 2, y, isSmooth, us);
    chromaRow(source, 0, y, isSmooth, vs);
    for (let x = 0; x < width; x++, o += 3) {
      const l = luma[source.data[o + 1] as number] as number;
      const u = ((us[x] as number) >> shift) - 128;
      const v = ((vs[x] as number) >> shift) - 128;
      rgb[o] = clamp((l + v * factors.vr) >> 6);
      rgb[o + 1] = clamp((l - u * factors.ug - v * factors.vg) >> 6);
      rgb[o + 2] = clamp((l + u * factors.ub) >> 6);
    }
  }
  return rgb;
}

function factorsOf(meaning: ColourMeaning): Factors {
  const found = FACTORS[matrixOf(meaning)];
  if (found === undefined) throw new UnsupportedImage(`AVIF colours of matrix ${meaning.matrix}`);
  return meaning.isFullRange ? found.full : found.limited;
}

const clamp = (value: number) => (value < 0 ? 0 : value > 255 ? 255 : value);

/** Each luma value in 64ths, rounding included; values are spread over 16 bits first. */
function lumaTable({ scale, bias }: Factors, bits: number): Int32Array {
  return Int32Array.from({ length: 1 << bits }, (_, y) => {
    const spread = bits === 8 ? y * 257 : (y << (16 - bits)) | (y >> (2 * bits - 16));
    return Math.floor((spread * scale) / 65536) + bias;
  });
}

/** The upper 8 bits. */
function toBytes({ data, bits }: YuvPicture): Uint8Array {
  return data instanceof Uint8Array ? data : Uint8Array.from(data, (value) => value >> (bits - 8));
}

/**
 * A row of chroma in `out`, one value a pixel. Halved chroma lies between the pixels: each takes 3 parts of its own sample to
 * 1 of the next one; at the edges there is no next one.
 * @param channel 0 for Cr, 2 for Cb
 */
function chromaRow(picture: YuvPicture, channel: number, y: number, isSmooth: boolean, out: Int32Array): void {
  const { data, width, height } = picture;
  const at = (x: number, y: number) => data[(y * width + x) * 3 + channel] as number;
  if (!picture.halfColumns || !isSmooth) {
    for (let x = 0; x < width; x++) out[x] = at(x, y);
    return;
  }
  const own = picture.halfRows ? y & ~1 : y;
  const other = y % 2 === 1 ? own + 2 : own - 2;
  const hasOther = picture.halfRows && other >= 0 && other < height;
  for (let x = 0; x < width; x++) {
    const near = x & ~1;
    const far = x % 2 === 1 ? near + 2 : near - 2;
    const isEdge = far < 0 || x === width - 1;
    const a = at(near, own);
    if (!hasOther) out[x] = isEdge ? a : (3 * a + at(far, own) + 2) >> 2;
    else if (isEdge) out[x] = (3 * a + at(near, other) + 2) >> 2;
    else out[x] = (9 * a + 3 * at(far, own) + 3 * at(near, other) + at(far, other) + 8) >> 4;
  }
}

function greyPicture(picture: YuvPicture, meaning: ColourMeaning, hasAlpha: boolean): Uint8Array {
  const data = hasAlpha ? toBytes(picture) : picture.data;
  const table = hasAlpha ? integerGrey(meaning) : floatTable(meaning, picture.bits);
  const rgb = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 3) rgb.fill(table[data[i + 1] as number] as number, i, i + 3);
  return rgb;
}

function integerGrey(meaning: ColourMeaning): Uint8Array {
  const matrix = meaning.matrix === IDENTITY ? BT601 : meaning.matrix;
  return Uint8Array.from(lumaTable(factorsOf({ ...meaning, matrix }), 8), (value) => clamp(value >> 6));
}

/** Cr, Y and Cb are red, green and blue. */
function identityPicture({ data, bits, halfColumns }: YuvPicture, meaning: ColourMeaning): Uint8Array {
  if (halfColumns) throw new ImageDefect('halved colours without a matrix');
  const table = floatTable(meaning, bits);
  return Uint8Array.from(data, (value) => table[value] as number);
}

/** libavif's own arithmetic, of 32-bit floating-point numbers (its reformat.c). */
function floatTable({ isFullRange }: ColourMeaning, bits: number): Uint8Array {
  const max = (1 << bits) - 1;
  const bias = isFullRange ? 0 : 16 << (bits - 8);
  const range = isFullRange ? max : 219 << (bits - 8);
  return Uint8Array.from({ length: max + 1 }, (_, y) => {
    const unit = Math.min(1, Math.max(0, Math.fround((y - bias) / range)));
    return Math.trunc(Math.fround(0.5 + Math.fround(unit * 255)));
  });
}
