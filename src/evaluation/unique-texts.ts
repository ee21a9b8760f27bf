// The texts of a split as distinct token rows, in order of their length: equal texts are computed once and tie exactly.
import { get } from '../errors.js';

/** Distinct token rows, shortest first, and which of them each text is. */
export interface UniqueTexts {
  /** Token ids of each distinct row, without padding. */
  rows: readonly Int32Array[];
  /** Length in tokens of each row: never falling. */
  lengths: Int32Array;
  /** Text → its distinct row. */
  rowOf: Int32Array;
}

/** The distinct rows of `texts` (token ids without padding), ordered by length, then by first appearance. */
export function uniqueTexts(texts: readonly Int32Array[]): UniqueTexts {
  const distinct = new Map<string, Int32Array>();
  const firstOf = texts.map((text) => {
    const key = text.join(',');
    const first = distinct.get(key) ?? text;
    distinct.set(key, first);
    return first;
  });
  const rows = [...distinct.values()].sort((a, b) => a.length - b.length); // stable
  const numbers = new Map(rows.map((row, number) => [row, number]));
  return {
    rows,
    lengths: Int32Array.from(rows, (row) => row.length),
    rowOf: Int32Array.from(firstOf, (row) => get(numbers, row)),
  };
}
