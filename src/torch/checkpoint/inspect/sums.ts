// Reads a tensor's elements out of its file, a window at a time: for statistics, without LibTorch.
import { at } from '../../../errors.js';
import { DTYPES, type DType } from '../../dtype.js';
import { type FileSource, withSource } from '../../file-source.js';
import { byteOffset, type Checkpoint, type TensorRef } from '../types.js';

const WINDOW = 1024 * 1024;
/** Most elements that are added up: some per byte of the file, for tensors that share bytes, and some per file. */
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
   * The sum of all elements in float64 (bool as 0 and 1). undefined for complex tensors, and once the views of a hostile
   * file overlap so much that the sums would never end.
   */
  sum(tensor: TensorRef): number | undefined {
    const { dtype, shape, stride } = tensor;
    if (dtype === 'complex64' || dtype === 'complex128') return undefined;
    if (shape.includes(0)) return 0;
    const { axes, repeats } = simplify(shape, stride);
    const count = axes.reduce((product, axis) => product * axis.size, 1);
    if (count > this.#allowance) return undefined;
    this.#allowance -= count;
    const inner = axes.at(-1) ?? { size: 1, stride: 1 };
    const first = byteOffset(tensor);
    let sum = 0;
    forOffsets(axes.slice(0, -1), 0, (offset) => {
      sum += this.#runs.sum(dtype, first + offset * DTYPES[dtype].bytes, inner.size, inner.stride);
    });
    return sum * repeats;
  }
}

/** Calls `use` with the offset, in elements, of every combination of indices along `axes`, the last one fastest. */
function forOffsets(axes: readonly Axis[], first: number, use: (offset: number) => void, depth = 0): void {
  const axis = axes[depth];
  if (axis === undefined) use(first);
  else for (let i = 0; i < axis.size; i++) forOffsets(axes, first + i * axis.stride, use, depth + 1);
}

interface Axis {
  size: number;
  stride: number;
}

/** The order of a sum is free: largest stride first, axes that continue each other joined, expanded ones counted. */
function simplify(shape: readonly number[], stride: readonly number[]): { axes: Axis[]; repeats: number } {
  const all = shape.map((size, axis) => ({ size, stride: at(stride, axis) })).filter(({ size }) => size > 1);
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
      const start = this.#seek(position + done * step, bytes);
      const fitting = Math.min(count - done, Math.floor((this.#length - start - bytes) / step) + 1);
      let part = 0;
      for (let i = 0; i < fitting; i++) part += get(this.#view, start + i * step);
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
