// Figures made of measurements: best and median of several times, peak memory, and how far two programs' scores differ.
import { at } from '../errors.js';
import { NOT_RERANKED } from '../evaluation/scores.js';
import { counted } from '../logging/text.js';
import type { Memory } from './protocol.js';

export type Summary = ReturnType<typeof summary>;

/** Several measurements of the same thing, at least one, in two numbers. */
export function summary(values: readonly number[]) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return { min: at(sorted, 0), median: (at(sorted, Math.floor(middle)) + at(sorted, Math.ceil(middle))) / 2 };
}

/** The least of `values` (at least one) that `share` of them do not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return at(sorted, Math.max(0, Math.ceil(share * sorted.length) - 1));
}

/** The largest peaks; of the device only if one was used. */
export function peakMemory(peaks: readonly Memory[]): Memory {
  const ofDevice = peaks.flatMap((peak) => peak.device_peak_bytes ?? []);
  return {
    peak_bytes: Math.max(...peaks.map((peak) => peak.peak_bytes)),
    ...(ofDevice.length > 0 && { device_peak_bytes: Math.max(...ofDevice) }),
  };
}

/**
 * Compares score matrices of equal shapes: the largest difference over the `both` scores that both programs gave. Where
 * only `one` of them re-ranked the pair, two similarities at the edge of the best k differ by rounding alone.
 */
export function compareScores(...pairs: readonly (readonly [own: Float32Array, reference: Float32Array])[]) {
  const result = { maxDifference: 0, both: 0, one: 0 };
  for (const [own, reference] of pairs) {
    if (own.length !== reference.length)
      throw new RangeError(`Expected ${counted(reference.length, 'score')} but received ${own.length}.`);
    for (const [i, a] of own.entries()) {
      const b = reference[i] as number;
      if (a === NOT_RERANKED || b === NOT_RERANKED) {
        if (a !== b) result.one++;
        continue;
      }
      result.both++;
      const difference = Math.abs(a - b);
      // NaN must not vanish in a comparison: it is the largest difference there is.
      result.maxDifference = Math.max(result.maxDifference, Number.isNaN(difference) ? Infinity : difference);
    }
  }
  return result;
}
