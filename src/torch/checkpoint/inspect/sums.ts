// Reads a tensor's elements out of its file, a window at a time: for statistics, without LibTorch.
import { DTYPES, type DType } from '../../dtype.js';
import { type FileSource, withSource } from '../../file-source.js';
import type { Checkpoint, TensorRef } from '../types.js';

const WINDOW = 1024 * 1024;
/** Elements that may be added up in all: some per byte of the file, for tensors that share bytes, and some per file. */
const READS_PER_BYTE = 4;
const READS_PER_FILE = 1 << 24;

type Getter = (view: DataView, at: number) => number;

const GETTERS: Record<Exclude<DType, 'complex64' | 'complex128'>, Getter> = {
  float64: (view, at) => view.getFloat64(at, true),
  float32: (view, at) => view.getFloat32(at, true),
  float16: (view, at) => halfToNumber(view.getUint16(at, true)),
  bfloat16: (view, at) => bfloat16ToNumber(view.getUint16(at, true)),
  int64: (view, at) => view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true),
  int32: (view, at) => view.getInt32(at, true),
  int16: (view, at) => view.getInt16(at, true),
  int8: (view, at) => view.getInt8(at),
  uint8: (view, at) => view.getUint8(at),
  bool: (view, at) => (view.getUint8(at) === 0 ? 0 : 1),
};

/** The sum of each of `tensors` by its path (see TensorSums.sum). Throws a UserError when the file cannot be read. */
export function tensorSums(
  checkpoint: Checkpoint,
  tensors: ReadonlyMap<string, TensorRef>,
): ReadonlyMap<string, number | undefined> {
  return withSource(checkpoint.path, (source) => {
    const sums = new TensorSums(source);
    return new Map([...tensors].map(([path, tensor]) => [path, sums.sum(tensor)]));
  });
}

/** Adds up the tensors of one file, reading it in windows of 1 MiB. */
class TensorSums {
  readonly #runs: RunSum;
  #allowance: number;

  constructor(source: FileSource) {
    this.#runs = new RunSum(source);
    this.#allowance = READS_PER_FILE + READS_PER_BYTE * source.size;
  }

  /**
   * The sum of all elements in float64 (bool as 0 and 1). undefined for complex tensors, and in files whose views overlap
   * so much that adding them up would take for ever: no tensor may cost more than the file's size warrants.
   */
  sum(tensor: TensorRef): number | undefined {
    const { dtype, shape, stride, fileOffset } = tensor;
    if (dtype === 'complex64' || dtype === 'complex128') return undefined;
    if (shape.includes(0)) return 0;
    const { axes, repeats } = simplify(shape, stride);
    const count = axes.reduce((product, axis) => product * axis.size, 1);
    if (count > this.#allowance) return undefined;
    this.#allowance -= count;
    const inner = axes.at(-1) ?? { size: 1, stride: 1 };
    let sum = 0;
    for (const offset of offsets(axes.slice(0, -1), tensor.storageOffset)) {
      sum += this.#runs.sum(dtype, fileOffset + offset * DTYPES[dtype].bytes, inner.size, inner.stride);
    }
    return sum * repeats;
  }
}

/** Offsets, in elements, of every combination of indices along `axes`, the last one fastest. */
function* offsets(axes: readonly Axis[], first: number): Generator<number> {
  const index = axes.map(() => 0);
  let offset = first;
  for (;;) {
    yield offset;
    let at = axes.length - 1;
    for (; at >= 0; at--) {
      const { size, stride } = axes[at] ?? { size: 1, stride: 0 };
      const next = (index[at] ?? 0) + 1;
      if (next < size) {
        index[at] = next;
        offset += stride;
        break;
      }
      index[at] = 0;
      offset -= (size - 1) * stride;
    }
    if (at < 0) return;
  }
}

interface Axis {
  size: number;
  stride: number;
}

/** The order of a sum is free: largest stride first, axes that continue each other joined, expanded ones counted. */
function simplify(shape: readonly number[], stride: readonly number[]): { axes: Axis[]; repeats: number } {
  const all = shape.map((size, axis) => ({ size, stride: stride[axis] ?? 0 })).filter(({ size }) => size > 1);
  const repeats = all.reduce((product, axis) => (axis.stride === 0 ? product * axis.size : product), 1);
  const axes: Axis[] = [];
  for (const axis of all.filter((entry) => entry.stride > 0).sort((a, b) => b.stride - a.stride)) {
    const last = axes.at(-1);
    if (last !== undefined && last.stride === axis.stride * axis.size) {
      last.size *= axis.size;
      last.stride = axis.stride;
    } else {
      axes.push({ ...axis });
    }
  }
  return { axes, repeats };
}

/** Adds up runs of equally spaced elements, keeping the part of the file that was read last. */
class RunSum {
  readonly #window = Buffer.allocUnsafe(WINDOW);
  readonly #view = new DataView(this.#window.buffer, this.#window.byteOffset, WINDOW);
  #start = 0;
  #length = 0;

  constructor(readonly source: FileSource) {}

  /** `position` in the file; `count` elements, `stride` elements apart. */
  sum(dtype: keyof typeof GETTERS, position: number, count: number, stride: number): number {
    const get = GETTERS[dtype];
    const bytes = DTYPES[dtype].bytes;
    const step = stride * bytes;
    let sum = 0;
    for (let done = 0; done < count; ) {
      const begin = this.#seek(position + done * step, bytes);
      const fitting = Math.min(count - done, Math.floor((this.#length - begin - bytes) / step) + 1);
      let part = 0;
      for (let i = 0, at = begin; i < fitting; i++, at += step) part += get(this.#view, at);
      sum += part;
      done += fitting;
    }
    return sum;
  }

  /** Where in the window the element at `position` is, reading it in if need be. */
  #seek(position: number, bytes: number): number {
    if (position < this.#start || position + bytes > this.#start + this.#length) {
      this.#length = Math.min(WINDOW, this.source.size - position);
      this.source.readInto(this.#window.subarray(0, this.#length), position);
      this.#start = position;
    }
    return position - this.#start;
  }
}

function halfToNumber(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

const scratch = new DataView(new ArrayBuffer(4));

/** bfloat16 is the upper half of a float32. */
function bfloat16ToNumber(bits: number): number {
  scratch.setUint16(0, bits);
  return scratch.getFloat32(0);
}
