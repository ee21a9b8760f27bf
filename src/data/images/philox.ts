// Random numbers that depend on their place, not on what was drawn before: Philox4x32-10.
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
import { at } from '../../errors.js';

const ROUNDS = 10;
const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
const KEY_STEPS = [0x9e3779b9, 0xbb67ae85] as const;

/** Upper 32 bits of the product of two 32-bit numbers. */
function upperProduct(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + (middle >>> 16) + (other >>> 16)) >>> 0;
}

type Key = readonly [number, number];
type Block = readonly [number, number, number, number];

/** The four 32-bit numbers of a counter under a key. */
export function philox4x32(counter: Block, key: Key): [number, number, number, number] {
  let [a, b, c, d] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const [upperA, upperC] = [upperProduct(MULTIPLIERS[0], a), upperProduct(MULTIPLIERS[1], c)];
    const [lowerA, lowerC] = [Math.imul(MULTIPLIERS[0], a), Math.imul(MULTIPLIERS[1], c)];
    [a, b, c, d] = [upperC ^ b ^ k0, lowerC, upperA ^ d ^ k1, lowerA];
    k0 += KEY_STEPS[0];
    k1 += KEY_STEPS[1];
  }
  return [a >>> 0, b >>> 0, c >>> 0, d >>> 0];
}

/** Where a stream starts: the same place gives the same numbers, on any thread, in any order. */
export interface StreamPlace {
  /** An integer. */
  seed: number;
  epoch: number;
  /** Place of the sample in the epoch's order, over all ranks. */
  position: number;
}

/** The random numbers of one sample in one epoch. */
export class SampleRandom {
  readonly #key: Key;
  readonly #position: number;
  readonly #seedUpper: number;
  #blocks = 0;
  #block: Block = [0, 0, 0, 0];
  #used = 4;

  constructor({ seed, epoch, position }: StreamPlace) {
    this.#key = [seed >>> 0, epoch >>> 0];
    this.#seedUpper = Math.floor(seed / 2 ** 32) >>> 0;
    this.#position = position;
  }

  /** Uniform in [0, 1), in steps of 2^-32. */
  next(): number {
    if (this.#used === 4) {
      this.#block = philox4x32([this.#blocks++, this.#position, this.#seedUpper, 0], this.#key);
      this.#used = 0;
    }
    return at(this.#block, this.#used++) / 2 ** 32;
  }

  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** An integer in [0, count). */
  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  /** True half of the time. */
  flip(): boolean {
    return this.next() < 0.5;
  }
}
