// Figures made of measurements: best and median of several times, peak memory, and how far two programs' scores differ.
import { at } from '../errors.js';
import { NOT_RERANKED } from '../evaluation/scores.js';
import type { Memory } from './protocol.js';

/** Several measurements of the same thing. */
export interface Summary {
  min: number;
  median: number;
}

/** @param values at least one */
export function summary(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return { min: at(sorted, 0), median: (at(sorted, Math.floor(middle)) + at(sorted, Math.ceil(middle))) / 2 };
}

/** The largest peaks; of the device only if one was used. */
export function peakMemory(peaks: readonly Memory[]): Memory {
  const ofDevice = peaks.flatMap((peak) => peak.device_peak_bytes ?? []);
  return {
    peak_bytes: Math.max(...peaks.map((peak) => peak.peak_bytes)),
    ...(ofDevice.length > 0 && { device_peak_bytes: Math.max(...ofDevice) }),
  };
}

export interface ScoreComparison {
  /** Largest difference over the pairs that both programs re-ranked. */
  maxDifference: number;
  /** Number of those pairs. */
  both: number;
  /** Pairs that only one of them re-ranked: two similarities at the edge of the best k differ by rounding alone. */
  one: number;
}

/** Compares score matrices of both programs, pair by pair. */
export function compareScores(own: Float32Array, reference: Float32Array): ScoreComparison {
  if (own.length !== reference.length)
    throw new RangeError(`Expected ${reference.length} scores but received ${own.length}.`);
  const result: ScoreComparison = { maxDifference: 0, both: 0, one: 0 };
  for (const [i, a] of own.entries()) {
    const b = reference[i] as number;
    const ranked = Number(a !== NOT_RERANKED) + Number(b !== NOT_RERANKED);
    if (ranked === 1) result.one++;
    if (ranked !== 2) continue;
    result.both++;
    const difference = Math.abs(a - b);
    // NaN must not vanish in a comparison: it is the largest difference there is.
    result.maxDifference = Math.max(result.maxDifference, Number.isNaN(difference) ? Infinity : difference);
  }
  return result;
}
