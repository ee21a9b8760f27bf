// Exact search: the dot product of the query with every feature of an index. Blocks its thread, for 13 ms at 100,000 images.
// Shapes: n rows of a segment, E wide; k neighbours.
import { at, UserError } from '../errors.js';
import { withSource } from '../torch/file-source.js';
import { type MappedFile, mapFile } from '../torch/mapped-file.js';
import * as ops from '../torch/ops.js';
import { readEntries, type SafetensorsEntry } from '../torch/safetensors.js';
import { keep, scope, type Tensor } from '../torch/tensor.js';

export interface ScanSegment {
  /** A safetensors file with `features` (n, E) float32. */
  readonly path: string;
  readonly rows: number; // n
  /** 1 for each row that is left out (n); undefined where none is. */
  readonly left?: Uint8Array | undefined;
}

export interface ScanJob {
  /** Which index it is: segments of its last scan stay mapped, others of it are let go. */
  readonly index: number;
  readonly segments: readonly ScanSegment[];
  readonly query: Float32Array; // (E), of unit length
  readonly k: number;
}

/** Numbers of each neighbour in a result: its segment, its row there, its similarity. */
export const SCAN_VALUES = 3;

/** Candidates of a segment that are rescored beyond its k best. */
const SPARE = 16;
/** Length that a unit vector of float32 may have, and what else rounding adds to a dot product. */
const MOST = 1 + 1e-3;

interface Mapped {
  readonly file: MappedFile;
  readonly features: Tensor; // (n, E)
}

/** Where the features of a segment are in its file. @throws UserError where the file is another, or not whole */
export function featuresEntry(path: string, rows: number, embedDim: number): SafetensorsEntry {
  return withSource(path, (source) => {
    const entry = readEntries(source).entries.get('features');
    if (entry === undefined || entry.dtype !== 'float32' || String(entry.shape) !== `${rows},${embedDim}`)
      return source.fail(`it does not hold ${rows} features of ${embedDim} numbers`, 'Make the index again.');
    return entry;
  });
}

/** Searches segments, which it maps and keeps mapped. */
export class ExactScan {
  readonly #mapped = new Map<number, Map<string, Mapped>>();

  /**
   * The k rows most similar to the query, best first, and those that are equal to the last of them: (m, 3), see SCAN_VALUES.
   * Similarities are sums in double precision, so equal images have equal ones wherever they lie.
   * @throws UserError for a segment that is gone or damaged
   */
  nearest({ index, segments, query, k }: ScanJob): Float64Array<ArrayBuffer> {
    const files = this.#map(index, segments, query.length);
    if (segments.length === 0) return new Float64Array();
    return scope(() => {
      const column = ops.float32(query);
      const similarities = segments.map((segment, s) => similaritiesOf(at(files, s), segment, column));
      const best = similarities.map((values) => topOf(values, k + SPARE));
      for (const [s, { values }] of best.entries()) demandUnit(at(segments, s).path, values);
      const all = Float64Array.from(best.flatMap(({ values }) => [...values])).sort();
      // float32 sums are off by at most this much: every row that may be among the best is rescored.
      const margin = query.length * 2 ** -23;
      const least = (all.at(-k) ?? Number.NEGATIVE_INFINITY) - margin;
      const found = best.flatMap((top, s) => {
        let { values, rows } = top;
        const most = at(segments, s).rows;
        while (values.length < most && (values.at(-1) ?? least) >= least && at(values, values.length - 1) !== -Infinity)
          ({ values, rows } = topOf(at(similarities, s), values.length * 4));
        const wanted = rows.filter((_, i) => at(values, i) >= least && at(values, i) !== -Infinity);
        return rescored(at(files, s).features, wanted, query).map(([row, value]) => [s, row, value] as const);
      });
      found.sort((a, b) => b[2] - a[2]);
      const last = found[k - 1]?.[2] ?? Number.NEGATIVE_INFINITY;
      return Float64Array.from(found.filter(([, , value]) => value >= last).flat());
    });
  }

  #map(index: number, segments: readonly ScanSegment[], embedDim: number): Mapped[] {
    const before = this.#mapped.get(index) ?? new Map<string, Mapped>();
    const now = new Map<string, Mapped>();
    try {
      for (const { path, rows } of segments) now.set(path, before.get(path) ?? mapFeatures(path, rows, embedDim));
    } finally {
      // After a failure, too, what was mapped belongs to the index.
      for (const [path, mapped] of before)
        if (!now.has(path)) {
          mapped.features.dispose();
          mapped.file.close();
        }
      if (now.size > 0) this.#mapped.set(index, now);
      else this.#mapped.delete(index);
    }
    return [...now.values()];
  }
}

function mapFeatures(path: string, rows: number, embedDim: number): Mapped {
  const { start } = featuresEntry(path, rows, embedDim);
  const file = mapFile(path);
  const features = keep(file.tensor(start, 'float32', [rows, embedDim], [embedDim, 1]));
  return { file, features };
}

/** (n), -∞ for rows that are left out. */
function similaritiesOf({ features }: Mapped, { left }: ScanSegment, column: Tensor): Tensor {
  const values = ops.matmul(features, column);
  if (left === undefined) return values;
  return ops.maskedFill(values, ops.fromBytes(left, 'bool', [left.length]), Number.NEGATIVE_INFINITY);
}

/** The greatest of `similarities`, at most `count`, greatest first, and their rows. */
function topOf(similarities: Tensor, count: number): { values: Float32Array; rows: number[] } {
  const [values, rows] = ops.topk(similarities, Math.min(count, similarities.numel));
  return { values: values.float32(), rows: rows.integers() };
}

/** @param values greatest first; NaN is greater than all. @throws UserError where a feature is no unit vector */
function demandUnit(path: string, values: Float32Array): void {
  const [greatest] = values;
  if (greatest === undefined || greatest <= MOST) return;
  throw new UserError(`${path} has features that are no unit vectors: it is damaged. Make the index again.`);
}

/** Rows with their similarities in double precision. */
function rescored(features: Tensor, rows: readonly number[], query: Float32Array): [row: number, value: number][] {
  if (rows.length === 0) return [];
  const chosen = ops.indexSelect(features, 0, ops.int64(rows)).float32();
  return rows.map((row, i) => {
    let sum = 0;
    for (let e = 0; e < query.length; e++) sum += (query[e] as number) * (chosen[i * query.length + e] as number);
    return [row, sum];
  });
}
