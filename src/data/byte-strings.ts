// Many short texts in little memory: UTF-8 one after the other, numbered in order, without an object for each.
import { at } from '../errors.js';
import { counted } from '../logging/text.js';

const BITS = 20;
const SEGMENT = 1 << BITS;
const MASK = SEGMENT - 1;
const MOST = 2 ** 32 - 1;

/** Whole numbers in a typed array that grows. */
export class IntList {
  #values = new Int32Array(1024);
  #length = 0;

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = new Int32Array(2 * this.#length);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#length++] = value;
  }

  at(index: number): number {
    return this.#values[index] as number;
  }

  get values(): Int32Array {
    return this.#values.subarray(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }
}

/** Texts in order; `at` makes a string of one. */
export class ByteStrings {
  // Segments, and not one array that grows: growing would need old and new at the same time.
  readonly #segments: Buffer[] = [];
  #last = Buffer.alloc(0);
  #ends = new Uint32Array(1024); // byte positions over all segments
  #length = 0;
  #bytes = 0;

  get length(): number {
    return this.#length;
  }

  /** Adds the text of bytes [start, end), and returns its number. */
  push(bytes: Buffer, start: number, end: number): number {
    let segment = this.#last;
    if (this.#bytes + end - start > MOST) throw new RangeError('More than 4 GiB of texts.');
    let offset = this.#bytes & MASK;
    for (let from = start; from < end; from++) {
      if (offset === 0) {
        segment = this.#last = Buffer.allocUnsafeSlow(SEGMENT);
        this.#segments.push(segment);
      }
      segment[offset] = bytes[from] as number;
      offset = (offset + 1) & MASK;
    }
    this.#bytes += end - start;
    if (this.#length === this.#ends.length) {
      const larger = new Uint32Array(2 * this.#length);
      larger.set(this.#ends);
      this.#ends = larger;
    }
    this.#ends[this.#length] = this.#bytes;
    return this.#length++;
  }

  /** @throws RangeError where there is no such text */
  at(index: number): string {
    const start = this.#start(index);
    const end = at(this.#ends, index);
    const first = start >>> BITS;
    const offset = start & MASK;
    if (offset + end - start <= SEGMENT)
      return start === end ? '' : at(this.#segments, first).toString('utf8', offset, offset + end - start);
    const last = (end - 1) >>> BITS;
    const all = Buffer.concat(this.#segments.slice(first, last + 1));
    return all.toString('utf8', offset, offset + end - start);
  }

  /** Whether text `index` is bytes [start, end). */
  equals(index: number, bytes: Buffer, start: number, end: number): boolean {
    const own = this.#start(index);
    const length = end - start;
    if ((this.#ends[index] as number) - own !== length) return false;
    const offset = own & MASK;
    const segment = this.#segments[own >>> BITS];
    if (segment === undefined || offset + length > SEGMENT)
      return bytes.subarray(start, end).equals(Buffer.from(this.at(index)));
    // From the end on: names of images begin alike.
    for (let i = length - 1; i >= 0; i--) if (segment[offset + i] !== bytes[start + i]) return false;
    return true;
  }

  #start(index: number): number {
    if (index < 0 || index >= this.#length)
      throw new RangeError(`Index ${index} is outside ${counted(this.#length, 'text')}.`);
    return index === 0 ? 0 : (this.#ends[index - 1] as number);
  }
}

/** Different texts, numbered in the order in which they first come. */
export class ByteTable {
  readonly strings = new ByteStrings();
  #slots = new Int32Array(1024); // a text's number plus 1, or 0
  #hashes = new IntList();
  /** Of the last text that was searched for. */
  #hash = 0;
  /** The last text that was looked for: rows of one image often follow one another. */
  #found = -1;

  /** The number of the text of bytes [start, end); -1 where it is new. */
  find(bytes: Buffer, start: number, end: number): number {
    if (this.#found >= 0 && this.strings.equals(this.#found, bytes, start, end)) return this.#found;
    this.#found = this.#search(bytes, start, end);
    return this.#found;
  }

  #search(bytes: Buffer, start: number, end: number): number {
    let hash = 0x811c9dc5 | 0;
    for (let position = start; position < end; position++)
      hash = Math.imul(hash ^ (bytes[position] as number), 0x01000193);
    this.#hash = hash;
    const mask = this.#slots.length - 1;
    for (let slot = spread(hash) & mask; ; slot = (slot + 1) & mask) {
      const number = (this.#slots[slot] as number) - 1;
      if (number < 0) return -1;
      if (this.#hashes.at(number) === hash && this.strings.equals(number, bytes, start, end)) return number;
    }
  }

  /** Adds the text for which `find` has just given -1, and returns its number. */
  add(bytes: Buffer, start: number, end: number): number {
    const number = this.strings.push(bytes, start, end);
    this.#found = number;
    this.#hashes.push(this.#hash);
    if (2 * this.strings.length > this.#slots.length) this.#grow();
    else this.#put(number, this.#hash);
    return number;
  }

  #put(number: number, hash: number): void {
    const mask = this.#slots.length - 1;
    let slot = spread(hash) & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = number + 1;
  }

  #grow(): void {
    this.#slots = new Int32Array(2 * this.#slots.length);
    for (const [number, hash] of this.#hashes.values.entries()) this.#put(number, hash);
  }
}

/** The hash's upper bits matter too. */
function spread(hash: number): number {
  return hash ^ (hash >>> 15);
}
