// Figures made of measurements: the best and the middle of several times, and how far two programs' scores lie apart.

/** The best and the middle of several measurements of the same thing. */
export interface Summary {
  min: number;
  median: number;
}

/** @param values at least one */
export function summary(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low, high] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  const min = sorted[0];
  if (min === undefined || low === undefined || high === undefined) throw new RangeError('no measurement');
  return { min, median: (low + high) / 2 };
}

/** Score of a pair that was not re-ranked. */
const notRanked = -100;

export interface ScoreComparison {
  /** Largest difference over the pairs that both programs re-ranked. */
  maxDifference: number;
  /** Number of those pairs. */
  both: number;
  /** Pairs that only one of them re-ranked: two similarities at the edge of the best k differ by rounding alone. */
  one: number;
}

/** Compares two score matrices of the same shape, in which -100 stands where a pair was not re-ranked. */
export function compareScores(own: Float32Array, reference: Float32Array): ScoreComparison {
  if (own.length !== reference.length) {
    throw new RangeError(`Expected ${reference.length} scores but received ${own.length}`);
  }
  const result: ScoreComparison = { maxDifference: 0, both: 0, one: 0 };
  for (const [i, a] of own.entries()) {
    const b = reference[i] ?? Number.NaN;
    if (a === notRanked && b === notRanked) continue;
    if (a === notRanked || b === notRanked) {
      result.one++;
      continue;
    }
    result.both++;
    const difference = Math.abs(a - b);
    // NaN must not vanish in a comparison: it is the largest difference there is.
    result.maxDifference = Number.isNaN(difference)
      ? Number.POSITIVE_INFINITY
      : Math.max(result.maxDifference, difference);
  }
  return result;
}
