// Index arithmetic of ragged lists: where their parts begin, and which elements belong together.
import { at } from '../errors.js';

/** [0, l₀, l₀ + l₁, …]: where parts of these lengths begin in one array, and where the last ends. */
export function offsetsOf(lengths: ArrayLike<number> & Iterable<number>): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  let [part, end] = [0, 0];
  for (const length of lengths) {
    end += length;
    offsets[++part] = end;
  }
  return offsets;
}

/** The numbers `first` to `end` - 1. */
export function range(first: number, end: number): Int32Array {
  return Int32Array.from({ length: Math.max(0, end - first) }, (_, i) => first + i);
}

/** For each of `groups` groups the positions in `groupOf` that name it, ascending: a counting sort. */
export function membersByGroup(groupOf: Int32Array, groups: number): Int32Array[] {
  const counts = new Int32Array(groups);
  for (const group of groupOf) counts[group] = at(counts, group) + 1;
  const offsets = offsetsOf(counts);
  const next = offsets.slice();
  const order = new Int32Array(groupOf.length);
  groupOf.forEach((group, position) => {
    const slot = at(next, group);
    order[slot] = position;
    next[group] = slot + 1;
  });
  return Array.from(counts, (_, group) => order.subarray(offsets[group], offsets[group + 1]));
}
