// Bounded reading of a file that is not trusted: positioned reads, a forward reader with a small window, a memory budget.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { codeOf, messageOf, UserError } from '../errors.js';
import { counted } from '../logging/text.js';

const WINDOW = 64 * 1024;
const MiB = 1024 * 1024;

/** Opens `path` for the duration of `use`. Throws a UserError when it cannot be opened or is not a regular file. */
export function withSource<T>(path: string, use: (source: FileSource) => T): T {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw cannotOpen(path, error);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) {
      throw new UserError(
        `${path} is ${stat.isDirectory() ? 'a folder' : 'not a regular file'}. Name the file itself.`,
      );
    }
    return use(new FileSource(path, fd, stat.size));
  } finally {
    closeSync(fd);
  }
}

/** The sentence for a file that could not be opened. */
export function cannotOpen(path: string, error: unknown): UserError {
  const code = codeOf(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return new UserError(`${path} does not exist. Check the path.`);
  if (code === 'EACCES' || code === 'EPERM') {
    return new UserError(`${path} may not be read by this user. Change its permissions.`);
  }
  return new UserError(`${path} cannot be opened: ${messageOf(error)}.`, { cause: error });
}

/** An open file; every complaint about its content goes through `fail`, so that it names the file. */
export class FileSource {
  constructor(
    readonly path: string,
    readonly fd: number,
    readonly size: number,
  ) {}

  fail(problem: string, remedy: string): never {
    throw new UserError(`${this.path}: ${problem}. ${remedy}`);
  }

  damaged(problem: string): never {
    this.fail(problem, 'The file is damaged. Get it again.');
  }

  /** Of what a harmless file has no need of. */
  refuse(problem: string): never {
    this.fail(problem, 'The file was refused; nothing in it was run.');
  }

  /** Fills `target` with the bytes from `position` on; fails when the file ends before. */
  readInto(target: Uint8Array, position: number): void {
    for (let done = 0; done < target.length; ) {
      let got: number;
      try {
        got = readSync(this.fd, target, done, target.length - done, position + done);
      } catch (error) {
        throw new UserError(`${this.path}: reading failed at byte ${position + done}: ${messageOf(error)}.`, {
          cause: error,
        });
      }
      if (got === 0) this.damaged(`it ends at byte ${position + done}, in the middle of its data`);
      done += got;
    }
  }

  read(position: number, length: number): Buffer {
    if (position < 0 || length < 0 || position + length > this.size) {
      this.damaged(`it declares ${counted(length, 'byte')} at byte ${position}, past its end at ${this.size}`);
    }
    const bytes = Buffer.allocUnsafe(length);
    this.readInto(bytes, position);
    return bytes;
  }
}

/** Reads [start, end) of a file forward, holding one window of it. `what` names the range in messages. */
export class ForwardReader {
  #window: Buffer = Buffer.alloc(0);
  #windowStart: number;
  #at = 0;

  constructor(
    readonly source: FileSource,
    readonly start: number,
    readonly end: number,
    readonly what: string,
  ) {
    this.#windowStart = start;
  }

  /** Position in the file of the next byte. */
  get position(): number {
    return this.#windowStart + this.#at;
  }

  /** The next `length` bytes, valid until the next call. */
  take(length: number): Buffer {
    const start = this.#advance(length);
    return this.#window.subarray(start, start + length);
  }

  /** Moves on over `length` bytes without reading them. */
  skip(length: number): void {
    if (length <= this.#window.length - this.#at) this.#at += length;
    else {
      const position = this.position;
      if (length > this.end - position) this.#endsEarly(length, position);
      this.#window = Buffer.alloc(0);
      this.#windowStart = position + length;
      this.#at = 0;
    }
  }

  text(length: number): string {
    const start = this.#advance(length);
    return this.#window.toString('utf8', start, start + length);
  }

  byte(): number {
    const start = this.#advance(1);
    return this.#window.readUInt8(start);
  }

  uint32(): number {
    const start = this.#advance(4);
    return this.#window.readUInt32LE(start);
  }

  /** Moves on by `length` bytes; gives where in the window they start. */
  #advance(length: number): number {
    if (this.#at + length > this.#window.length) this.#refill(length);
    this.#at += length;
    return this.#at - length;
  }

  #refill(length: number): void {
    const position = this.position;
    if (length > this.end - position) this.#endsEarly(length, position);
    this.#window = this.source.read(position, Math.min(Math.max(WINDOW, length), this.end - position));
    this.#windowStart = position;
    this.#at = 0;
  }

  #endsEarly(length: number, position: number): never {
    this.source.damaged(
      `${this.what} ends at byte ${this.end - this.start}, but ${counted(length, 'byte')} ${length === 1 ? 'is' : 'are'} needed from byte ${position - this.start} on`,
    );
  }

  /** Latin-1 text up to the next newline, which is consumed; at most `limit` bytes. */
  line(limit: number): string {
    let text = '';
    for (let byte = this.byte(); byte !== 0x0a; byte = this.byte()) {
      if (text.length === limit) this.source.refuse(`${this.what} has a name of over ${limit} bytes`);
      text += String.fromCharCode(byte);
    }
    return text;
  }
}

/**
 * Estimated memory of everything built from one file. Hostile files can ask for many objects in few bytes. The limit is
 * half the file's size (at most 128 MiB) plus 20 MiB: with a second structure of that size (flatten.ts) and garbage, the
 * process stays below the file's size plus 64 MiB.
 */
export class Budget {
  #left: number;
  readonly #exceeded: () => never;

  constructor(fileBytes: number, exceeded: () => never) {
    this.#left = 20 * MiB + Math.min(fileBytes / 2, 128 * MiB);
    this.#exceeded = exceeded;
  }

  static of(source: FileSource): Budget {
    const problem = 'describing its tensors takes far more memory than any checkpoint needs';
    return new Budget(source.size, () => source.refuse(problem));
  }

  spend(bytes: number): void {
    this.#left -= bytes;
    if (this.#left < 0) this.#exceeded();
  }
}
