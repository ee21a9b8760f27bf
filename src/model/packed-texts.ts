// Texts packed without padding: all tokens in a row, texts of equal length next to each other.
// Shapes: n texts, T tokens in all.
import { at } from '../errors.js';
import type { Device, Tensor } from '../torch/tensor.js';
import { upload } from '../torch/transfer.js';
import { offsetsOf } from './offsets.js';

/** `count` texts in a row that have `length` tokens each. */
export interface LengthGroup {
  count: number;
  length: number;
}

/** The layout of n packed texts, in order of their length, as the host sees it. */
export interface TextLayout {
  /** Runs of equal length; their counts add up to n, count · length to T. */
  groups: readonly LengthGroup[];
  texts: number; // n
  tokens: number; // T
  maxSeqlen: number;
}

/** The layout of n packed texts, and where their tokens stand, on a device. */
export interface Packing extends TextLayout {
  /** Index of each text's first token: int32 (n). */
  first: Tensor;
  /** 0, the end of text 0, of text 1, …: int32 (n + 1), as variable-length attention kernels take it. */
  cuSeqlens: Tensor;
  /** 0, 1, …, n: int32 (n + 1); the same for queries of first tokens alone. */
  cuSeqlensOfFirst: Tensor;
}

/** Packed texts on a device. */
export interface PackedTexts {
  ids: Tensor; // int32 (T)
  positions: Tensor; // int32 (T): 0, 1, … within each text
  packing: Packing;
}

/** A layout, and under their names the arrays that are to be uploaded for it, together with others. */
export interface HostPacking<Name extends string = 'first' | 'cuSeqlens' | 'cuSeqlensOfFirst'> {
  layout: TextLayout;
  arrays: Record<Name, Int32Array>;
}
export type HostTexts = HostPacking<'ids' | 'positions' | 'first' | 'cuSeqlens' | 'cuSeqlensOfFirst'>;

/** The layout of texts of these lengths. @throws RangeError where lengths fall: equal ones must stand together */
export function layOut(lengths: Int32Array | readonly number[]): HostPacking {
  const groups: LengthGroup[] = [];
  for (const length of lengths) {
    const group = groups.at(-1);
    if (group?.length === length) group.count++;
    else if (group === undefined || length > group.length) groups.push({ count: 1, length });
    else throw new RangeError(`Expected texts in order of their length but received ${length} after ${group.length}`);
  }
  const texts = lengths.length;
  const cuSeqlens = offsetsOf(lengths);
  return {
    layout: { groups, texts, tokens: at(cuSeqlens, texts), maxSeqlen: groups.at(-1)?.length ?? 0 },
    arrays: {
      first: cuSeqlens.subarray(0, texts),
      cuSeqlens,
      cuSeqlensOfFirst: Int32Array.from(cuSeqlens.keys()),
    },
  };
}

/**
 * Packs token rows (ids without padding, shortest row first) on the host. With `firstToken`, that id takes the place of
 * each row's first: [ENC] for [CLS] in multimodal mode. @throws RangeError where lengths fall
 */
export function layOutTexts(
  rows: readonly Int32Array[],
  { firstToken }: { firstToken?: number | undefined } = {},
): HostTexts {
  const { layout, arrays } = layOut(Int32Array.from(rows, (row) => row.length));
  const ids = new Int32Array(layout.tokens);
  const positions = new Int32Array(layout.tokens);
  let start = 0;
  for (const row of rows) {
    ids.set(row, start);
    if (firstToken !== undefined && row.length > 0) ids[start] = firstToken;
    for (let position = 0; position < row.length; position++) positions[start + position] = position;
    start += row.length;
  }
  return { layout, arrays: { ids, positions, ...arrays } };
}

/** Texts laid out on the host, and their arrays once uploaded. */
export function packedTexts(layout: TextLayout, sent: Record<keyof HostTexts['arrays'], Tensor>): PackedTexts {
  const { ids, positions, first, cuSeqlens, cuSeqlensOfFirst } = sent;
  return { ids, positions, packing: { ...layout, first, cuSeqlens, cuSeqlensOfFirst } };
}

/** The packing of texts of these lengths. @throws RangeError where lengths fall */
export function packingOf(lengths: Int32Array | readonly number[], device: Device): Packing {
  const { layout, arrays } = layOut(lengths);
  return { ...layout, ...upload(device, arrays) };
}

/** `layOutTexts`, uploaded. */
export function packTexts(
  rows: readonly Int32Array[],
  device: Device,
  options: { firstToken?: number } = {},
): PackedTexts {
  const { layout, arrays } = layOutTexts(rows, options);
  return packedTexts(layout, upload(device, arrays));
}

/** Token rows in any order as `packTexts` takes them: shortest first, and where each is now (`rowOf`). */
export function sortByLength(rows: readonly Int32Array[]): { sorted: Int32Array[]; rowOf: Int32Array } {
  const order = [...rows.entries()].sort(([, a], [, b]) => a.length - b.length); // stable
  const rowOf = new Int32Array(rows.length);
  for (const [row, [given]] of order.entries()) rowOf[given] = row;
  return { sorted: order.map(([, row]) => row), rowOf };
}

/** Splits rows of these lengths into runs of at most `budget` tokens (a single row may have more). */
export function* tokenChunks(lengths: Int32Array, budget: number): Generator<[first: number, end: number]> {
  let [first, tokens] = [0, 0];
  for (const [row, length] of lengths.entries()) {
    if (row > first && tokens + length > budget) {
      yield [first, row];
      [first, tokens] = [row, 0];
    }
    tokens += length;
  }
  if (first < lengths.length) yield [first, lengths.length];
}
