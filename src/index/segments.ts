// Segments of an index's folder: files that are written once and never changed. Features (n, E) float32, rows, and tokens
// (n, L·V) bfloat16 where the index keeps them; tombstones are a file that is written anew with every removal.
import { randomBytes } from 'node:crypto';
import { access, constants, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAll } from '../disk/atomic-file.js';
import { cannotWrite } from '../disk/cannot-write.js';
import { at, UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { withSource } from '../torch/file-source.js';
import { readEntries, type SafetensorsEntry } from '../torch/safetensors.js';
import { featuresEntry } from './exact.js';
import { AGAIN, type Manifest, SEGMENTS, type SegmentEntry } from './manifest.js';
import { lineOf, Rows } from './rows.js';
import type { EmbeddedImage } from './store.js';

/** A segment that is open for reading. */
export interface Segment {
  readonly entry: SegmentEntry;
  readonly rows: Rows;
  /** 1 for each row that was removed (n); undefined where none was. */
  readonly removed: Uint8Array | undefined;
  readonly featuresPath: string;
  readonly features: SafetensorsEntry;
  readonly tokensPath: string;
  /** Of an index that keeps tokens. */
  readonly tokens: SafetensorsEntry | undefined;
}

export const segmentFile = (index: string, name: string) => join(index, SEGMENTS, name);

/** The names of the files of a segment. */
export function filesOf({ name, tombstones }: SegmentEntry): string[] {
  const own = [`${name}.safetensors`, `${name}.jsonl`, `${name}.tokens.safetensors`];
  return tombstones === undefined ? own : [...own, `${tombstones}.removed`];
}

/** A name that no other segment has, nor one of another writer of the same index. */
export function segmentName(manifest: Manifest): string {
  return `${String(manifest.next).padStart(6, '0')}-${randomBytes(4).toString('hex')}`;
}

/** @throws UserError where its files do not fit together; a system error where one is not there */
export async function openSegment(
  index: string,
  entry: SegmentEntry,
  facts: { embedDim: number; keepsTokens: boolean; folder?: string | undefined },
  before: Segment | undefined,
  signal?: AbortSignal,
): Promise<Segment> {
  const file = segmentFile(index, entry.name);
  const removed = await readTombstones(index, entry);
  if (before !== undefined) return { ...before, entry, removed };
  const featuresPath = `${file}.safetensors`;
  await access(featuresPath, constants.R_OK);
  const rows = await Rows.read(`${file}.jsonl`, entry.rows, facts.folder, signal);
  const features = featuresEntry(featuresPath, entry.rows, facts.embedDim);
  const tokensPath = `${file}.tokens.safetensors`;
  if (facts.keepsTokens) await access(tokensPath, constants.R_OK);
  const tokens = facts.keepsTokens ? tokensEntry(tokensPath, entry.rows) : undefined;
  return { entry, rows, removed, featuresPath, features, tokensPath, tokens };
}

async function readTombstones(index: string, entry: SegmentEntry): Promise<Uint8Array | undefined> {
  if (entry.tombstones === undefined) return undefined;
  const path = `${segmentFile(index, entry.tombstones)}.removed`;
  const bytes = new Uint8Array(await readFile(path)); // a buffer of its own, which can be sent to a thread
  let removed = 0;
  for (const byte of bytes) {
    if (byte > 1) removed = -1;
    if (removed < 0) break;
    removed += byte;
  }
  if (bytes.length !== entry.rows || removed !== entry.removed)
    throw new UserError(
      `${path} is damaged: it does not mark ${entry.removed} of ${counted(entry.rows, 'row')}. ${AGAIN}`,
    );
  return bytes;
}

function tokensEntry(path: string, rows: number): SafetensorsEntry {
  return withSource(path, (source) => {
    const entry = readEntries(source).entries.get('tokens');
    if (entry?.dtype !== 'bfloat16' || entry.shape.length !== 2 || entry.shape[0] !== rows)
      return source.fail(`it does not hold the tokens of ${counted(rows, 'image')}`, AGAIN);
    return entry;
  });
}

/** Bytes `length` at `position` of a file. @throws a system error where it is not there */
export async function readPart(path: string, position: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const file = await open(path);
  try {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await file.read(bytes, done, length - done, position + done);
      if (bytesRead === 0) throw new UserError(`${path} is damaged: it is cut short. ${AGAIN}`);
      done += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/** Rows [start, end) of a tensor (n, …), as bytes. */
export function readRows(
  path: string,
  { start: first, bytes, shape }: SafetensorsEntry,
  start: number,
  end: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const rowBytes = bytes / at(shape, 0);
  return readPart(path, first + start * rowBytes, (end - start) * rowBytes);
}

// ---- writing: new files under names of their own, which the manifest then names

/** Small parts are written together, so many bytes at a time. */
const TOGETHER = 2 ** 20;

/** Writes a file that is not there yet, to the disk itself. */
export async function writeNew(path: string, parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx').catch((error: unknown) => {
    throw cannotWrite(path, error);
  });
  try {
    let held: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of parts) {
      held.push(part);
      bytes += part.length;
      if (bytes < TOGETHER) continue;
      for (const each of held.length === 1 ? held : [Buffer.concat(held)]) await writeAll(path, file, each);
      [held, bytes] = [[], 0];
    }
    await writeAll(path, file, Buffer.concat(held));
    await file.sync().catch((error: unknown) => {
      throw cannotWrite(path, error);
    });
  } finally {
    await file.close();
  }
}

/** The beginning of a safetensors file of one tensor. */
export function headerOf(name: string, dtype: 'F32' | 'BF16', shape: readonly number[], bytes: number): Buffer {
  const header = Buffer.from(JSON.stringify({ [name]: { dtype, shape, data_offsets: [0, bytes] } }));
  const padded = Buffer.alloc(8 + Math.ceil(header.length / 64) * 64 + 56, ' '); // what follows is aligned to 64
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  header.copy(padded, 8);
  return padded;
}

const asBytes = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength);

/** Writes the segment of these images, one at least, each id once. */
export async function writeSegment(
  index: string,
  name: string,
  images: readonly EmbeddedImage[],
  facts: { embedDim: number; keepsTokens: boolean; folder?: string | undefined },
): Promise<SegmentEntry> {
  const file = segmentFile(index, name);
  const { embedDim, keepsTokens, folder } = facts;
  const bytes = images.length * embedDim * 4;
  await writeNew(`${file}.safetensors`, [
    headerOf('features', 'F32', [images.length, embedDim], bytes),
    Buffer.concat(images.map(({ feature }) => asBytes(feature))),
  ]);
  if (keepsTokens) {
    const each = images.map(({ id, tokens }) => {
      if (tokens === undefined) throw new TypeError(`Expected tokens of ${id} but received none.`);
      return tokens;
    });
    const length = at(each, 0).length;
    const header = headerOf('tokens', 'BF16', [images.length, length / 2], images.length * length);
    await writeNew(`${file}.tokens.safetensors`, [header, ...each]);
  }
  await writeNew(`${file}.jsonl`, [Buffer.from(images.map((image) => lineOf(image, folder)).join(''))]);
  return { name, rows: images.length, removed: 0 };
}

/** The entry of a segment with these tombstones, which are written. */
export async function writeTombstones(index: string, entry: SegmentEntry, removed: Uint8Array): Promise<SegmentEntry> {
  const tombstones = `${entry.name}-${randomBytes(4).toString('hex')}`;
  await writeNew(`${segmentFile(index, tombstones)}.removed`, [removed]);
  return { ...entry, tombstones, removed: removed.reduce((sum, byte) => sum + byte, 0) };
}
