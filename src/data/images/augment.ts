// The ten operations of the retrieval training's RandAugment, byte for byte as the reference computes them.

import { at } from '../../errors.js';
import { rotation, shearX, shearY, translateX, translateY, warp } from './affine.js';
import { imageAddon } from './image-addon.js';
import type { SampleRandom } from './philox.js';

const DRAWS = 2;
const PROBABILITY = 0.5;
/** Level 5 of 10, in each operation's unit: factor, shear, pixels or degrees. */
const MAGNITUDES = {
  Identity: 0,
  AutoContrast: 0,
  Brightness: 1,
  Sharpness: 1,
  Equalize: 0,
  ShearX: 0.15,
  ShearY: 0.15,
  TranslateX: 5,
  TranslateY: 5,
  Rotate: 15,
} as const;

export type AugmentationName = keyof typeof MAGNITUDES;

/** An operation and its argument: a factor for Brightness and Sharpness, signed for the affine ones, else unused. */
export interface Augmentation {
  name: AugmentationName;
  argument: number;
}

/** The draws number them in this order. */
const NAMES = Object.keys(MAGNITUDES) as AugmentationName[];
const SIGNED = new Set<AugmentationName>(['ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate']);

/** Two operations drawn with replacement, each kept with probability 1/2, signs at random. */
export function drawAugmentations(random: SampleRandom): Augmentation[] {
  const drawn: Augmentation[] = [];
  for (let draw = 0; draw < DRAWS; draw++) {
    const name = at(NAMES, random.below(NAMES.length));
    const [kept, negative] = [random.next() < PROBABILITY, random.flip()];
    const magnitude = MAGNITUDES[name];
    if (kept) drawn.push({ name, argument: SIGNED.has(name) && negative ? -magnitude : magnitude });
  }
  return drawn;
}

/**
 * Applies one operation to (height, width, 3) uint8.
 * @returns the result: new memory, or `pixels` itself, which look-ups change in place
 */
export function augment(pixels: Uint8Array, width: number, height: number, operation: Augmentation): Uint8Array {
  const { name, argument } = operation;
  switch (name) {
    case 'Identity':
      return pixels;
    case 'AutoContrast':
      return lookUp(pixels, autoContrastTable);
    case 'Equalize':
      return lookUp(pixels, equalizeTable);
    case 'Brightness':
      return argument === 1 ? pixels : lookUp(pixels, () => brightnessTable(argument));
    case 'Sharpness':
      return argument === 1 ? pixels : sharpen(pixels, width, height, argument);
    case 'ShearX':
      return warp(pixels, width, height, shearX(argument));
    case 'ShearY':
      return warp(pixels, width, height, shearY(argument));
    case 'TranslateX':
      return warp(pixels, width, height, translateX(argument));
    case 'TranslateY':
      return warp(pixels, width, height, translateY(argument));
    case 'Rotate':
      return warp(pixels, width, height, rotation(argument, width, height));
  }
}

/** Replaces each value, in place, by its entry in a table made from the histogram of its channel. */
function lookUp(pixels: Uint8Array, tableOf: (histogram: Uint32Array) => Uint8Array): Uint8Array {
  const counts = imageAddon().channelHistograms(pixels);
  const tables = new Uint8Array(counts.length);
  for (let start = 0; start < counts.length; start += 256)
    tables.set(tableOf(counts.subarray(start, start + 256)), start);
  imageAddon().lookUp(pixels, tables);
  return pixels;
}

/** A table of 256 values, each clipped to [0, 255] and truncated to an integer. */
function table(value: (i: number) => number): Uint8Array {
  return new Uint8Array(256).map((_, i) => Math.min(255, Math.max(0, value(i))));
}

/**
 * Stretches the values to [0, 255]. The reference negates the lowest value as an 8-bit number, which wraps: a channel
 * whose lowest value is not 0 becomes 255 everywhere. Kept, since the published weights were trained that way.
 */
function autoContrastTable(histogram: Uint32Array): Uint8Array {
  const low = histogram.findIndex((count) => count > 0);
  const high = histogram.findLastIndex((count) => count > 0);
  if (high <= low) return table((i) => i);
  const scale = 255 / (high - low);
  const offset = ((256 - low) % 256) * scale;
  return table((i) => i * scale + offset);
}

/** Spreads the values so that each part of the range occurs equally often (Pillow's ImageOps.equalize). */
function equalizeTable(histogram: Uint32Array): Uint8Array {
  const pixels = histogram.reduce((sum, count) => sum + count, 0);
  const highest = histogram.findLast((count) => count > 0) ?? 0; // no pixels
  const step = Math.floor((pixels - highest) / 255);
  if (step === 0) return table((i) => i);
  let below = Math.floor(step / 2);
  return table((i) => {
    const value = Math.floor(below / step);
    below += histogram[i] as number;
    return value;
  });
}

function brightnessTable(factor: number): Uint8Array {
  return table((i) => Math.fround(i * Math.fround(factor)));
}

/**
 * Moves each value away from (with a factor below 1: towards) its smoothed value, the mean of 3 x 3 pixels in which the
 * middle one counts 5 times. The outermost pixels stay. Values beyond a byte wrap, as in the reference; with training's
 * factor of 1 there are none.
 */
function sharpen(pixels: Uint8Array, width: number, height: number, factor: number): Uint8Array {
  const result = Uint8Array.from(pixels);
  const row = width * 3;
  const value = (i: number) => pixels[i] as number;
  const f = Math.fround(factor);
  for (let y = 1; y < height - 1; y++) {
    for (let i = y * row + 3; i < (y + 1) * row - 3; i++) {
      const above = value(i - row - 3) + value(i - row) + value(i - row + 3);
      const below = value(i + row - 3) + value(i + row) + value(i + row + 3);
      const smooth = Math.floor((2 * (above + below + value(i - 3) + value(i + 3) + 5 * value(i)) + 13) / 26);
      result[i] = Math.trunc(Math.fround(smooth + Math.fround(f * (value(i) - smooth))));
    }
  }
  return result;
}
