// The texts of a split as distinct token rows, in order of their length: equal texts are computed once and tie exactly.

import type { PackedTokens } from '../model/blip-retrieval.js';
import { int32, packingOf } from '../model/packed-texts.js';
import type { Device } from '../torch/tensor.js';

/** Token rows of a split without padding, one after the other. */
export interface TokenRows {
  /** Ids of all rows: row r is ids[starts[r] … starts[r + 1] - 1]. */
  ids: Int32Array;
  starts: Int32Array;
}

/** Row r of `rows`. */
export function tokenRow({ ids, starts }: TokenRows, r: number): Int32Array {
  return ids.subarray(starts[r] ?? 0, starts[r + 1] ?? 0);
}

/** Distinct token rows, shortest first, and which of them each text is. */
export interface UniqueTexts extends TokenRows {
  /** Number of distinct rows. */
  count: number;
  /** Length in tokens of each: never falling. */
  lengths: Int32Array;
  /** Text → its distinct row. */
  rowOf: Int32Array;
}

/** The distinct rows of `texts` (token ids without padding), ordered by length, then by first appearance. */
export function uniqueTexts(texts: readonly ArrayLike<number>[]): UniqueTexts {
  const seen = new Map<string, number>();
  const distinct: Int32Array[] = [];
  const firstOf = texts.map((text) => {
    const row = Int32Array.from(text);
    const key = row.join(',');
    const known = seen.get(key);
    if (known !== undefined) return known;
    seen.set(key, distinct.length);
    distinct.push(row);
    return distinct.length - 1;
  });
  const order = distinct
    .map((_, i) => i)
    .sort((a, b) => (distinct[a]?.length ?? 0) - (distinct[b]?.length ?? 0) || a - b);
  const rank = new Int32Array(order.length);
  const starts = new Int32Array(order.length + 1);
  const lengths = new Int32Array(order.length);
  order.forEach((from, to) => {
    rank[from] = to;
    lengths[to] = distinct[from]?.length ?? 0;
    starts[to + 1] = (starts[to] ?? 0) + (lengths[to] ?? 0);
  });
  const ids = new Int32Array(starts[order.length] ?? 0);
  order.forEach((from, to) => {
    ids.set(distinct[from] ?? [], starts[to]);
  });
  return { ids, starts, lengths, count: order.length, rowOf: Int32Array.from(firstOf, (i) => rank[i] ?? 0) };
}

/** Positions 0, 1, … within rows of these lengths, and the lengths' sum. */
function positionsOf(lengths: Int32Array, total: number): Int32Array {
  const positions = new Int32Array(total);
  let at = 0;
  for (const length of lengths) for (let p = 0; p < length; p++) positions[at++] = p;
  return positions;
}

/** Rows `from` to `to` - 1 on `device`; with `firstToken`, that id stands in place of each row's first. */
export function packedTokens(
  texts: UniqueTexts,
  from: number,
  to: number,
  device: Device,
  firstToken?: number,
): PackedTokens {
  const start = texts.starts[from] ?? 0;
  const ids = texts.ids.slice(start, texts.starts[to] ?? 0);
  const lengths = texts.lengths.subarray(from, to);
  if (firstToken !== undefined) for (let r = from; r < to; r++) ids[(texts.starts[r] ?? 0) - start] = firstToken;
  return {
    ids: int32(ids, device),
    positions: int32(positionsOf(lengths, ids.length), device),
    packing: packingOf(lengths, device),
  };
}

/** Splits rows from..to into runs of at most `budget` tokens (one row at the least). */
export function* tokenChunks(starts: Int32Array, budget: number): Generator<[from: number, to: number]> {
  const rows = starts.length - 1;
  for (let from = 0; from < rows; ) {
    let to = from + 1;
    while (to < rows && (starts[to + 1] ?? 0) - (starts[from] ?? 0) <= budget) to++;
    yield [from, to];
    from = to;
  }
}
