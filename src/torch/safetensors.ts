// safetensors files: a JSON header of names, types and ranges, then the bytes. https://github.com/huggingface/safetensors
import { closeSync, openSync } from 'node:fs';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { isRecord } from '../errors.js';
import { counted } from '../logging/text.js';
import { DTYPES, type DType, numelOf } from './dtype.js';
import { Budget, cannotOpen, FileSource, withSource } from './file-source.js';

const TYPE_NAMES: Record<DType, string> = {
  float32: 'F32',
  float64: 'F64',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
  complex64: 'C64',
  complex128: 'C128',
};
const dtypesByName = new Map((Object.entries(TYPE_NAMES) as [DType, string][]).map(([dtype, name]) => [name, dtype]));

const NOT = 'it is not a safetensors file';
const ANOTHER = 'Name another file.';

/** The format's limit. */
const LONGEST_HEADER = 100_000_000;
/** What parsing takes, by byte of the header. */
const MEMORY_PER_BYTE = 12;

/** One tensor of a file; its bytes are read each time `data` is accessed. */
export interface SafeTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The elements in row-major order, little-endian, at an address aligned for any type. */
  readonly data: Uint8Array;
}

/**
 * Reads the header of a safetensors file and checks it: every range inside the file, of the size that its shape needs, no
 * overlap, no gap. Tensors are in the header's order. Throws a UserError that names the file for anything else.
 */
export function readSafetensors(path: string): Map<string, SafeTensor> {
  return withSource(path, (source) => {
    const { entries } = readEntries(source);
    return new Map(
      [...entries].map(([name, { dtype, shape, start, bytes }]) => [
        name,
        new LazyTensor(path, dtype, shape, start, bytes),
      ]),
    );
  });
}

/** Where a tensor is in the file: `bytes` bytes from byte `start` on, row-major. */
export interface SafetensorsEntry {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly start: number;
  readonly bytes: number;
}

/** The header of an open file, checked as readSafetensors does. */
export function readEntries(source: FileSource): {
  entries: Map<string, SafetensorsEntry>;
  metadata: Map<string, string>;
} {
  const { header, dataStart } = readHeader(source);
  const entries = new Map<string, SafetensorsEntry>();
  const ranges: [start: number, end: number][] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const { dtype, shape, start, end } = parseEntry(source, name, entry);
    ranges.push([start, end]);
    entries.set(name, { dtype, shape, start: dataStart + start, bytes: end - start });
  }
  checkRanges(source, ranges, source.size - dataStart);
  return { entries, metadata: metadataOf(source, header) };
}

/** The free-text fields of a file's header, empty when it has none. */
export function readSafetensorsMetadata(path: string): Map<string, string> {
  return withSource(path, (source) => metadataOf(source, readHeader(source).header));
}

function metadataOf(source: FileSource, header: Record<string, unknown>): Map<string, string> {
  const metadata = header.__metadata__ ?? {};
  if (!isRecord(metadata)) return source.damaged('its __metadata__ is not an object');
  return new Map(Object.entries(metadata).map(([key, value]) => [key, String(value)]));
}

/**
 * Writes a safetensors file atomically. Types of larger elements come first, in the map's order within one type, and the
 * header is padded so that the bytes start at a multiple of 8: every tensor is aligned to its element. Throws a TypeError
 * for data that contradicts its shape, a UserError when the file cannot be written.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, SafeTensor>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  // A null prototype, so that a tensor named __proto__ is an entry like the others.
  const header: Record<string, unknown> = Object.create(null);
  if (metadata !== undefined) header.__metadata__ = metadata;
  const ordered = [...tensors].sort(([, a], [, b]) => DTYPES[b.dtype].bytes - DTYPES[a.dtype].bytes);
  let at = 0;
  for (const [name, { dtype, shape }] of ordered) {
    const bytes = numelOf(shape) * DTYPES[dtype].bytes;
    header[name] = { dtype: TYPE_NAMES[dtype], shape, data_offsets: [at, at + bytes] };
    at += bytes;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ');
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  text.copy(padded, 8);
  await writeFileAtomically(path, async (file) => {
    await file.write(padded);
    for (const [name, { dtype, shape, data }] of ordered) {
      const bytes = numelOf(shape) * DTYPES[dtype].bytes;
      if (data.length !== bytes) {
        throw new TypeError(`Tensor ${name}, ${dtype} [${shape.join(', ')}], has ${bytes} bytes, not ${data.length}.`);
      }
      await file.write(data);
    }
  });
}

class LazyTensor implements SafeTensor {
  readonly #path: string;
  readonly #position: number;
  readonly #bytes: number;

  constructor(
    path: string,
    readonly dtype: DType,
    readonly shape: readonly number[],
    position: number,
    bytes: number,
  ) {
    this.#path = path;
    this.#position = position;
    this.#bytes = bytes;
  }

  get data(): Uint8Array {
    const bytes = new Uint8Array(this.#bytes);
    let fd: number;
    try {
      fd = openSync(this.#path, 'r');
    } catch (error) {
      throw cannotOpen(this.#path, error);
    }
    try {
      new FileSource(this.#path, fd, 0).readInto(bytes, this.#position);
    } finally {
      closeSync(fd);
    }
    return bytes;
  }
}

function readHeader(source: FileSource): { header: Record<string, unknown>; dataStart: number } {
  if (source.size < 8) source.damaged('it is too short for a safetensors file');
  const length = source.read(0, 8).readBigUInt64LE(0);
  if (length > LONGEST_HEADER) source.fail(`${NOT}: its first eight bytes are not the length of a header`, ANOTHER);
  const dataStart = 8 + Number(length);
  if (dataStart > source.size) source.damaged('its safetensors header is cut short');
  Budget.of(source).spend(Number(length) * MEMORY_PER_BYTE);
  const text = source.read(8, Number(length)).toString('utf8');
  let header: unknown;
  try {
    header = text.startsWith('{') ? JSON.parse(text) : undefined;
  } catch {
    source.damaged('its safetensors header is not JSON');
  }
  if (!isRecord(header)) return source.fail(`${NOT}: its header is not a JSON object`, ANOTHER);
  return { header, dataStart };
}

function parseEntry(source: FileSource, name: string, entry: unknown) {
  const shown = JSON.stringify(name.slice(0, 120));
  const damaged = (what: string): never => source.damaged(`its tensor ${shown} has ${what}`);
  if (!isRecord(entry)) return damaged('no description');
  const dtype = typeof entry.dtype === 'string' ? dtypesByName.get(entry.dtype) : undefined;
  if (dtype === undefined) {
    const given = JSON.stringify(entry.dtype)?.slice(0, 40) ?? 'missing';
    return source.fail(`its tensor ${shown} has the unsupported type ${given}`, 'Convert the file.');
  }
  const shape = sizes(entry.shape, 64);
  const [start, end, ...rest] = sizes(entry.data_offsets, 2) ?? [];
  if (shape === undefined) return damaged('an impossible shape');
  if (start === undefined || end === undefined || rest.length > 0 || start > end) return damaged('impossible offsets');
  const bytes = shape.reduce((product, size) => product * BigInt(size), BigInt(DTYPES[dtype].bytes));
  if (bytes !== BigInt(end - start)) return damaged(`${counted(end - start, 'byte')} where its shape needs ${bytes}`);
  return { dtype, shape, start, end };
}

/** Sorted, the ranges must tile the bytes after the header. */
function checkRanges(source: FileSource, ranges: [number, number][], available: number): void {
  let at = 0;
  for (const [start, end] of ranges.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (start !== at) source.damaged('its tensors overlap or leave gaps');
    at = end;
  }
  if (at > available) source.damaged(`it ends ${counted(at - available, 'byte')} before its last tensor does`);
  if (at < available) source.damaged(`it has ${counted(available - at, 'byte')} after its last tensor`);
}

function sizes(value: unknown, most: number): number[] | undefined {
  if (!Array.isArray(value) || value.length > most) return undefined;
  const checked: number[] = [];
  for (const size of value as unknown[]) {
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined;
    checked.push(size);
  }
  return checked;
}
