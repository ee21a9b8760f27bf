// A small random stream that gives the same numbers on every machine: drawn data sets, and images drawn again for intervals.
import { at } from '../errors.js';

/** Random numbers from a 32-bit seed (mulberry32, public domain, by Tommy Ettinger). */
export class Random {
  #state: number;

  /** @param seed a whole number; only its low 32 bits count */
  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** Uniform in [0, 1), in steps of 2^-32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** A whole number in [0, count). */
  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  /** One entry of a list. @throws RangeError for an empty list */
  pick<T>(list: readonly T[]): T {
    return at(list, this.below(list.length));
  }
}
