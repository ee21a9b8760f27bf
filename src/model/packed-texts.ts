// Texts packed without padding: their tokens one after the other, texts of equal length side by side.
// Shapes: n texts, T tokens in all.
import { fromBytes, to } from '../torch/ops.js';
import type { Device, Tensor } from '../torch/tensor.js';

/** `count` texts in a row that have `length` tokens each. */
export interface LengthGroup {
  count: number;
  length: number;
}

/** The layout of n packed texts, in order of their length. */
export interface Packing {
  /** Runs of equal length; their counts add up to n, count · length to T. */
  groups: readonly LengthGroup[];
  texts: number; // n
  tokens: number; // T
  longest: number;
  /** Index of each text's first token: int32 (n). */
  first: Tensor;
  /** 0, the end of text 0, of text 1, …: int32 (n + 1); variable-length attention kernels take it. */
  boundaries: Tensor;
  /** 0, 1, …, n: int32 (n + 1); the same for one query a text. */
  counts: Tensor;
}

/** An int32 tensor of these integers on `device`. */
export function int32(values: Int32Array, device: Device): Tensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const tensor = fromBytes(bytes, 'int32', [values.length]);
  return device === 'cpu' ? tensor : to(tensor, { device });
}

/** The packing of texts of these lengths, which must not fall: equal lengths then stand together. */
export function packingOf(lengths: ArrayLike<number>, device: Device): Packing {
  const texts = lengths.length;
  const boundaries = new Int32Array(texts + 1);
  const groups: LengthGroup[] = [];
  for (let i = 0; i < texts; i++) {
    const length = lengths[i] ?? 0;
    boundaries[i + 1] = (boundaries[i] ?? 0) + length;
    const group = groups.at(-1);
    if (group?.length === length) group.count++;
    else groups.push({ count: 1, length });
    if (group !== undefined && length < group.length) throw new RangeError('Expected texts in order of their length');
  }
  return {
    groups,
    texts,
    tokens: boundaries[texts] ?? 0,
    longest: groups.at(-1)?.length ?? 0,
    first: int32(boundaries.subarray(0, texts), device),
    boundaries: int32(boundaries, device),
    counts: int32(
      Int32Array.from({ length: texts + 1 }, (_, i) => i),
      device,
    ),
  };
}
