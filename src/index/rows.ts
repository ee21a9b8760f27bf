// The rows of a segment: JSON Lines, kept as the bytes that they are in the file and parsed one at a time.
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { at, isRecord, UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { AGAIN } from './manifest.js';
import type { IndexedImage } from './store.js';
import { Turns } from './turns.js';

const CHUNK = 4 * 2 ** 20;
/** Bytes of a row, its path among them. */
const LONGEST_ROW = 64 * 1024;
const MOST_BYTES = 4 * 2 ** 30 - 1;
const NEWLINE = 10;

/** A row as its line in the file. Its path is left out where it follows from the folder and the id, and null where there is none. */
export function lineOf({ id, path, size, modified, digest }: IndexedImage, folder: string | undefined): string {
  const own = path !== undefined && path === pathInFolder(folder, id) ? undefined : (path ?? null);
  return `${JSON.stringify({ id, path: own, size, modified, digest })}\n`;
}

/** Where the image `id` of a folder is; undefined where there is no folder, or the id would lead out of it. */
function pathInFolder(folder: string | undefined, id: string): string | undefined {
  if (folder === undefined || id.startsWith('/') || id.includes('\0')) return undefined;
  return id.split('/').includes('..') ? undefined : join(folder, id);
}

export class Rows {
  #table: IdTable | undefined;

  private constructor(
    readonly path: string,
    readonly folder: string | undefined,
    readonly count: number,
    readonly bytes: Buffer,
    /** Where each row starts in `bytes`, and where the last one ends. */
    readonly starts: Uint32Array,
  ) {}

  /** Reads all rows. @throws UserError where the file has not `count` rows; a system error where it is not there */
  static async read(path: string, count: number, folder: string | undefined, signal?: AbortSignal): Promise<Rows> {
    const damaged = (what: string) => new UserError(`${path} is damaged: it has ${what}. ${AGAIN}`);
    const file = await open(path);
    try {
      const { size } = await file.stat();
      if (size > Math.min(MOST_BYTES, count * LONGEST_ROW)) throw damaged(`${size} bytes for ${counted(count, 'row')}`);
      const bytes = Buffer.allocUnsafeSlow(size);
      const starts = new Uint32Array(count + 1);
      const turns = new Turns();
      let [end, row] = [0, 0];
      while (end < size) {
        const { bytesRead } = await file.read(bytes, end, Math.min(CHUNK, size - end), end);
        if (bytesRead === 0) throw damaged(`${counted(end, 'byte')} instead of ${size}`);
        const chunk = bytes.subarray(end, end + bytesRead);
        for (let i = chunk.indexOf(NEWLINE); i >= 0; i = chunk.indexOf(NEWLINE, i + 1)) {
          row += 1;
          if (row <= count) starts[row] = end + i + 1;
          if (row % 1024 === 0) await turns.rest(signal);
        }
        end += bytesRead;
      }
      if (row !== count || at(starts, count) !== size) throw damaged(`${counted(row, 'row')} instead of ${count}`);
      return new Rows(path, folder, count, bytes, starts);
    } finally {
      await file.close();
    }
  }

  /** The line of a row, with its end. */
  line(row: number): Buffer {
    return this.bytes.subarray(at(this.starts, row), at(this.starts, row + 1));
  }

  /** @throws UserError for a line that is none */
  image(row: number): IndexedImage {
    const value = this.#parsed(row);
    const { id, path, size, modified, digest } = value;
    const isNumber = (number: unknown) => number === undefined || (typeof number === 'number' && number >= 0);
    if (
      typeof id !== 'string' ||
      typeof digest !== 'string' ||
      (path !== undefined && path !== null && typeof path !== 'string') ||
      !isNumber(size) ||
      !isNumber(modified)
    )
      throw this.#damaged(row);
    return {
      id,
      path: path === undefined ? pathInFolder(this.folder, id) : (path ?? undefined),
      size: typeof size === 'number' ? size : undefined,
      modified: typeof modified === 'number' ? modified : undefined,
      digest,
    };
  }

  id(row: number): string {
    const { id } = this.#parsed(row);
    if (typeof id !== 'string') throw this.#damaged(row);
    return id;
  }

  /** The row of `id`; undefined where there is none. `ready` must have been awaited. */
  find(id: string): number | undefined {
    if (this.#table === undefined) throw new Error('Rows.find was called before ready.');
    return this.#table.find(id, (row) => this.id(row));
  }

  /** Makes `find` possible: a second call does nothing. */
  async ready(signal?: AbortSignal): Promise<void> {
    if (this.#table !== undefined) return;
    const table = new IdTable(this.count);
    const turns = new Turns();
    for (let row = 0; row < this.count; row++) {
      table.add(this.id(row), row);
      if (row % 256 === 0) await turns.rest(signal);
    }
    this.#table = table;
  }

  #parsed(row: number): Record<string, unknown> {
    try {
      const value: unknown = JSON.parse(this.line(row).toString());
      if (isRecord(value)) return value;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw this.#damaged(row);
  }

  #damaged(row: number): UserError {
    return new UserError(`${this.path} is damaged: its line ${row + 1} is no image of an index. ${AGAIN}`);
  }
}

/** Rows by their id, in 8 to 16 bytes each: an open hash table that leaves the texts where they are. */
class IdTable {
  /** Row + 1 in each slot; 0 where it is empty. A power of two, at least twice as many as rows. */
  readonly #slots: Uint32Array;
  /** The hash of each row's id: most others are told apart by it. */
  readonly #hashes: Uint32Array;

  constructor(rows: number) {
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(2, 2 * rows))));
    this.#hashes = new Uint32Array(rows);
  }

  add(id: string, row: number): void {
    const hash = hashOf(id);
    this.#hashes[row] = hash;
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = row + 1;
  }

  find(id: string, idOf: (row: number) => string): number | undefined {
    const hash = hashOf(id);
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const row = at(this.#slots, slot) - 1;
      if (row < 0) return undefined;
      if (at(this.#hashes, row) === hash && idOf(row) === id) return row;
    }
  }
}

/** FNV-1a over UTF-16 units, with its bits mixed: tables use the low ones. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
