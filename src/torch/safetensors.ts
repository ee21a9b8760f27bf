// safetensors files: a JSON header of names, types and ranges, then the bytes. https://github.com/huggingface/safetensors
import { closeSync, openSync } from 'node:fs';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { isRecord, UserError } from '../errors.js';
import { DTYPES, type DType } from './dtype.js';
import { cannotOpen, FileSource, withSource } from './file-source.js';

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

/** The format's own limit. */
const LONGEST_HEADER = 100_000_000;

/** One tensor of a file; its bytes are read when `data` is asked for, and kept by nobody but the caller. */
export interface SafeTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The elements in row-major order, little-endian, at an address aligned for any type. */
  readonly data: Uint8Array;
}

/**
 * Reads the header of a safetensors file and checks it: every range inside the file, of the size that its shape needs, no
 * overlap, no gap. Tensors in order of the header. Throws a UserError naming the file for anything else.
 */
export function readSafetensors(path: string): Map<string, SafeTensor> {
  return withSource(path, (source) => {
    const { header, dataStart } = readHeader(source);
    const tensors = new Map<string, SafeTensor>();
    const ranges: [begin: number, end: number][] = [];
    for (const [name, entry] of Object.entries(header)) {
      if (name === '__metadata__') continue;
      const { dtype, shape, begin, end } = parseEntry(source, name, entry);
      ranges.push([begin, end]);
      tensors.set(name, new LazyTensor(path, dtype, shape, dataStart + begin, end - begin));
    }
    checkRanges(source, ranges, source.size - dataStart);
    return tensors;
  });
}

/** The free-text fields of a file's header, empty when it has none. */
export function readSafetensorsMetadata(path: string): Map<string, string> {
  return withSource(path, (source) => {
    const metadata = readHeader(source).header.__metadata__ ?? {};
    if (!isRecord(metadata)) return source.fail('its __metadata__ is no object: the file is damaged, get it again');
    return new Map(Object.entries(metadata).map(([key, value]) => [key, String(value)]));
  });
}

/**
 * Writes a safetensors file, wholly or not at all. Types of larger elements come first, within one type the map's order
 * holds; the header is padded so that the bytes begin at a multiple of 8: every tensor is aligned to its element. Throws a TypeError for data that contradicts its shape, a UserError when the file
 * system refuses.
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
    const bytes = shape.reduce((product, size) => product * size, DTYPES[dtype].bytes);
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
      const bytes = shape.reduce((product, size) => product * size, DTYPES[dtype].bytes);
      if (data.length !== bytes) {
        throw new TypeError(`Tensor ${name}, ${dtype} [${shape.join(', ')}], has ${bytes} bytes, not ${data.length}`);
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
  if (source.size < 8) source.fail('it is too short for a safetensors file: get it again');
  const length = source.read(0, 8).readBigUInt64LE(0);
  if (length > LONGEST_HEADER) source.fail('it is no safetensors file: its first eight bytes give no header length');
  const dataStart = 8 + Number(length);
  if (dataStart > source.size) source.fail('its safetensors header is cut short: get the file again');
  const text = source.read(8, Number(length)).toString('utf8');
  let header: unknown;
  try {
    header = text.startsWith('{') ? JSON.parse(text) : undefined;
  } catch (error) {
    throw new UserError(`${source.path}: its safetensors header is no JSON: the file is damaged, get it again`, {
      cause: error,
    });
  }
  if (!isRecord(header)) return source.fail('it is no safetensors file: its header is no JSON object');
  return { header, dataStart };
}

function parseEntry(source: FileSource, name: string, entry: unknown) {
  const shown = JSON.stringify(name.slice(0, 120));
  const damaged = (what: string): never =>
    source.fail(`its tensor ${shown} has ${what}: the file is damaged, get it again`);
  if (!isRecord(entry)) return damaged('no description');
  const dtype = typeof entry.dtype === 'string' ? dtypesByName.get(entry.dtype) : undefined;
  if (dtype === undefined) {
    const given = JSON.stringify(entry.dtype)?.slice(0, 40) ?? 'missing';
    return source.fail(`its tensor ${shown} is of type ${given}, which this program does not handle: convert the file`);
  }
  const shape = sizes(entry.shape, 64);
  const [begin, end, ...rest] = sizes(entry.data_offsets, 2) ?? [];
  if (shape === undefined) return damaged('an impossible shape');
  if (begin === undefined || end === undefined || rest.length > 0 || begin > end) return damaged('impossible offsets');
  const bytes = shape.reduce((product, size) => product * BigInt(size), BigInt(DTYPES[dtype].bytes));
  if (bytes !== BigInt(end - begin)) return damaged(`${end - begin} bytes where its shape needs ${bytes}`);
  return { dtype, shape, begin, end };
}

/** Sorted, the ranges must tile the bytes after the header. */
function checkRanges(source: FileSource, ranges: [number, number][], available: number): void {
  let at = 0;
  for (const [begin, end] of ranges.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (begin !== at) source.fail('its tensors overlap or leave gaps: the file is damaged, get it again');
    at = end;
  }
  if (at > available) source.fail(`it ends ${at - available} bytes before its last tensor does: get it again`);
  if (at < available)
    source.fail(`it has ${available - at} bytes after its last tensor: the file is damaged, get it again`);
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
