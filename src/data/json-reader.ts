// Reads JSON as Python's json takes it, value by value out of a file of any size: NaN and Infinity are numbers, whole
// numbers are exact, of equal keys the last counts, a byte order mark is passed over.
import { isUtf8 } from 'node:buffer';
import { at as item } from '../errors.js';

/** Gives the next bytes of a text: puts them into `target`, and returns how many; 0 at the end. */
export type ByteSource = (target: Uint8Array) => number;

/** Where a text stops being JSON. */
export class JsonDefect extends Error {
  /** @param offset of the misplaced token in the text, in bytes */
  constructor(readonly offset: number) {
    super(`Broken JSON at byte ${offset}.`);
  }
}

/** The text is not UTF-8: in which way, as the end of a sentence. */
export class EncodingDefect extends Error {}

/** An object of the text. Of fields that no form has only the name is there. */
export type Fields = Record<string, unknown>;

export const Byte = {
  quote: 0x22,
  comma: 0x2c,
  minus: 0x2d,
  dot: 0x2e,
  zero: 0x30,
  nine: 0x39,
  colon: 0x3a,
  openList: 0x5b,
  backslash: 0x5c,
  closeList: 0x5d,
  openObject: 0x7b,
  closeObject: 0x7d,
} as const;

/** Classes of bytes inside a string. */
const PLAIN = 0;
export const WORD = 1;
export const BEYOND_ASCII = 2;
const STOP = 4;

/** (256) the class of each byte: a letter or digit, beyond ASCII, or one that ends a run of ordinary ones. */
export const classes = new DataView(new ArrayBuffer(256));
for (let byte = 0; byte < 256; byte++) {
  const stops = byte < 0x20 || byte === Byte.quote || byte === Byte.backslash;
  const word = /[A-Za-z0-9]/.test(String.fromCharCode(byte));
  classes.setUint8(byte, stops ? STOP : byte >= 0x80 ? BEYOND_ASCII : word ? WORD : PLAIN);
}

const CHUNK = 1 << 20;
/** Values inside a value that is built, beyond which nothing of a data set lies. */
const MOST_LEVELS = 6;
/** As many digits as Python reads. */
const MOST_DIGITS = 4300;
const WORDS = ['true', 'false', 'null', 'NaN', 'Infinity', '-Infinity'] as const;
const LITERALS: Record<string, unknown> = {
  true: true,
  false: false,
  null: null,
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

/** Thrown and caught here: the bytes that were read end before the value does. */
const MORE = new Error('more bytes are needed');

/**
 * A place in a text. The text is read in pieces: whatever is read goes into `whole`, which starts again with more bytes
 * where they end too early.
 */
export class JsonReader {
  /** The bytes that are there, then a 0, which nothing may hold: loops need not look for the end. */
  bytes: Buffer;
  view: DataView;
  /** The place, in `bytes`. */
  pos = 0;
  #end = 0;
  #checked = 0;
  #base = 0;
  #last = false;

  /** @param wanted names of the fields that are read; others are passed over @throws EncodingDefect */
  constructor(
    readonly source: ByteSource,
    readonly wanted: ReadonlySet<string>,
    chunk = CHUNK,
  ) {
    this.bytes = Buffer.alloc(chunk + 1);
    this.view = viewOf(this.bytes);
    while (this.#end < 4 && !this.#last) this.#refill();
    if (this.view.getUint8(0) === 0xef) this.pos = 3;
  }

  /** What `read` gives, with as many bytes as it needs. It must change nothing before it has read all. */
  whole<T>(read: () => T): T {
    for (;;) {
      const start = this.pos;
      try {
        return read();
      } catch (error) {
        if (error !== MORE) throw error;
        this.pos = start;
        this.#refill();
      }
    }
  }

  /** Bytes of the text before the place. */
  get offset(): number {
    return this.#base + this.pos;
  }

  /** The next byte that is no white space, which becomes the place; 0 at the end. */
  token(): number {
    const { view } = this;
    for (;;) {
      const byte = view.getUint8(this.pos);
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) {
        if (byte === 0 && this.pos >= this.#end && !this.#last) throw MORE;
        return byte;
      }
      this.pos++;
    }
  }

  /** Whether nothing follows but white space. */
  atEnd(): boolean {
    return this.token() === 0 && this.pos >= this.#end;
  }

  /** Passes over `byte`. @throws JsonDefect where another comes */
  expect(byte: number): void {
    if (this.token() !== byte) this.fail();
    this.pos++;
  }

  /** @throws JsonDefect for the token at `start`, which is wrong at `wrong` */
  fail(start = this.pos, wrong = start): never {
    if (wrong >= this.#end && !this.#last) throw MORE;
    throw new JsonDefect(this.#base + start);
  }

  /** Passes over one value, however deep it is. */
  skip(): void {
    const open: number[] = [];
    for (;;) {
      const byte = this.token();
      if (byte === Byte.openObject || byte === Byte.openList) {
        this.pos++;
        const isObject = byte === Byte.openObject;
        if (this.token() !== (isObject ? Byte.closeObject : Byte.closeList)) {
          open.push(byte);
          if (isObject) this.#skipKey();
          continue;
        }
        this.pos++;
      } else this.#skipScalar(byte);
      for (;;) {
        const inside = open.at(-1);
        if (inside === undefined) return;
        const next = this.token();
        if (next === Byte.comma) {
          this.pos++;
          if (inside === Byte.openObject) this.#skipKey();
          break;
        }
        if (next !== (inside === Byte.openObject ? Byte.closeObject : Byte.closeList)) this.fail();
        this.pos++;
        open.pop();
      }
    }
  }

  /** The value that comes; whole numbers beyond 2^53 as a bigint, of objects the wanted fields. */
  value(levels = MOST_LEVELS): unknown {
    const byte = this.token();
    if (byte === Byte.quote) return this.string();
    if (byte === Byte.openList) {
      if (levels === 0) return this.#skipped([]);
      const values: unknown[] = [];
      this.#members(Byte.closeList, () => values.push(this.value(levels - 1)));
      return values;
    }
    if (byte === Byte.openObject) {
      const fields: Fields = Object.create(null);
      if (levels === 0) return this.#skipped(fields);
      this.#members(Byte.closeObject, () => {
        const key = this.key();
        fields[key] = this.wanted.has(key) ? this.value(levels - 1) : this.skip();
      });
      return fields;
    }
    const start = this.pos;
    this.#skipScalar(byte);
    return scalar(this.bytes.toString('latin1', start, this.pos));
  }

  /** The name of the next member, and its colon. */
  key(): string {
    if (this.token() !== Byte.quote) this.fail();
    const key = this.string();
    this.expect(Byte.colon);
    return key;
  }

  /** The string at the place. */
  string(): string {
    const start = this.pos;
    const seen = this.#skipString();
    const end = this.pos;
    if ((seen & STOP) !== 0) return String(JSON.parse(this.bytes.toString('utf8', start, end)));
    const ascii = (seen & BEYOND_ASCII) === 0;
    return ascii ? this.bytes.toString('latin1', start + 1, end - 1) : this.bytes.toString('utf8', start + 1, end - 1);
  }

  #skipped<T>(value: T): T {
    this.skip();
    return value;
  }

  #members(close: number, member: () => void): void {
    this.pos++;
    if (this.token() === close) {
      this.pos++;
      return;
    }
    for (;;) {
      member();
      const byte = this.token();
      if (byte !== close && byte !== Byte.comma) this.fail();
      this.pos++;
      if (byte === close) return;
    }
  }

  #skipKey(): void {
    if (this.token() !== Byte.quote) this.fail();
    this.#skipString();
    this.expect(Byte.colon);
  }

  #skipScalar(byte: number): void {
    if (byte === Byte.quote) this.#skipString();
    else if (byte >= Byte.zero && byte <= Byte.nine) this.#skipNumber();
    else if (byte === Byte.minus && this.view.getUint8(this.pos + 1) !== 0x49) this.#skipNumber();
    else this.#skipWord();
  }

  /** Passes over the string at the place. @returns the classes of its bytes; STOP where it has an escape */
  #skipString(): number {
    const { view, pos: start } = this;
    let seen = PLAIN;
    for (let at = start + 1; ; at++) {
      const kind = classes.getUint8(view.getUint8(at));
      if (kind !== STOP) {
        seen |= kind;
        continue;
      }
      const byte = view.getUint8(at);
      if (byte === Byte.quote) {
        this.pos = at + 1;
        return seen;
      }
      if (byte !== Byte.backslash) this.fail(start, at);
      seen |= STOP;
      at++;
      const escaped = view.getUint8(at);
      if (escaped !== 0x75) {
        if (!'"\\/bfnrt'.includes(String.fromCharCode(escaped))) this.fail(start, at);
        continue;
      }
      for (let digit = 0; digit < 4; digit++) {
        at++;
        if (!/[0-9a-fA-F]/.test(String.fromCharCode(view.getUint8(at)))) this.fail(start, at);
      }
    }
  }

  #skipNumber(): void {
    const { pos: start } = this;
    let at = this.view.getUint8(start) === Byte.minus ? start + 1 : start;
    const first = this.#digits(at);
    if (first === at) this.fail(start, at);
    at = this.view.getUint8(at) === Byte.zero ? at + 1 : first;
    if (this.view.getUint8(at) === Byte.dot) {
      const end = this.#digits(at + 1);
      at = end > at + 1 ? end : at;
    }
    if ((this.view.getUint8(at) | 0x20) === 0x65) {
      const sign = this.view.getUint8(at + 1);
      const from = sign === 0x2b || sign === Byte.minus ? at + 2 : at + 1;
      const end = this.#digits(from);
      at = end > from ? end : at;
    }
    this.pos = at;
  }

  /** Where the digits from `at` on end. */
  #digits(at: number): number {
    let end = at;
    while (this.#isDigit(end)) end++;
    if (end >= this.#end && !this.#last) throw MORE;
    return end;
  }

  #isDigit(at: number): boolean {
    const byte = at <= this.#end ? this.view.getUint8(at) : 0;
    return byte >= Byte.zero && byte <= Byte.nine;
  }

  #skipWord(): void {
    const start = this.pos;
    if (this.#end - start < 9 && !this.#last) throw MORE;
    const word = WORDS.find((each) => this.bytes.toString('latin1', start, start + each.length) === each);
    if (word === undefined) this.fail(start);
    this.pos = start + word.length;
  }

  /** Moves what is left to the front and reads on; the room doubles where one value fills half of it. */
  #refill(): void {
    const left = this.#end - this.pos;
    const room = this.bytes.length - 1;
    const target = left > room / 2 ? Buffer.alloc(2 * room + 1) : this.bytes;
    target.set(this.bytes.subarray(this.pos, this.#end));
    this.#base += this.pos;
    this.#checked -= this.pos;
    if (target !== this.bytes) {
      this.bytes = target;
      this.view = viewOf(target);
    }
    this.pos = 0;
    const read = this.source(target.subarray(left, target.length - 1));
    this.#last = read === 0;
    this.#end = left + read;
    target[this.#end] = 0;
    this.#checkEncoding();
  }

  #checkEncoding(): void {
    const from = this.#checked;
    let to = this.#end;
    // A character that is cut by the end is checked with the next bytes.
    for (let back = 1; !this.#last && back <= 3 && to - back >= from; back++) {
      const byte = item(this.bytes, to - back);
      if (byte < 0x80) break;
      if (byte >= 0xc0) {
        to -= back;
        break;
      }
    }
    if (this.#base === 0 && from === 0 && this.#end > 1) {
      const mark = this.view.getUint16(0);
      if (mark === 0xfffe || mark === 0xfeff) throw new EncodingDefect('but in UTF-16. Save it as UTF-8');
      if (mark === 0x1f8b) throw new EncodingDefect('but compressed by gzip. Decompress it');
    }
    if (!isUtf8(this.bytes.subarray(from, to))) throw new EncodingDefect();
    this.#checked = to;
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function scalar(text: string): unknown {
  if (text in LITERALS) return LITERALS[text];
  const number = Number(text);
  const exact = Number.isSafeInteger(number) || /[.eE]/.test(text) || text.length > MOST_DIGITS;
  return exact ? number : BigInt(text);
}
