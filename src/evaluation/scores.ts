// Scores of a split in one direction: the re-ranked candidates of each query, and -100 for everything else.
// Kept by query, k slots each: memory grows with the pairs, not with images times texts.
import { at } from '../errors.js';
import type { TopK } from './candidates.js';

/** What a pair that was not re-ranked scores, as in the reference. */
export const NOT_RERANKED = -100;

/** A matrix of scores that gives one row at a time. */
export interface ScoreRows {
  rows: number;
  columns: number;
  /** Row r; every call overwrites the array of the last one. */
  row(r: number): Float32Array;
}

/**
 * Rows of scores from the candidates' slots. With `queryOf`, row r has the slots of query `queryOf[r]`: equal texts share
 * them.
 * `scores` is in the order of `candidates.index`.
 */
export function scoreRows(candidates: TopK, scores: Float32Array, columns: number, queryOf?: Int32Array): ScoreRows {
  const scratch = new Float32Array(columns);
  const { k, index } = candidates;
  return {
    rows: queryOf?.length ?? candidates.queries,
    columns,
    row(r) {
      scratch.fill(NOT_RERANKED);
      const first = (queryOf ? at(queryOf, r) : r) * k;
      for (const [j, column] of index.subarray(first, first + k).entries()) scratch[column] = at(scores, first + j);
      return scratch;
    },
  };
}

/** The rows of a matrix in memory. */
export function denseRows(matrix: Float32Array, rows: number, columns: number): ScoreRows {
  return { rows, columns, row: (r) => matrix.subarray(r * columns, (r + 1) * columns) };
}

/** All rows as one matrix, row by row. */
export function denseScores({ rows, columns, row }: ScoreRows): Float32Array {
  const dense = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) dense.set(row(r), r * columns);
  return dense;
}
