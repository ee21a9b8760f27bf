// How long training will take, and what memory, from a few measured steps.

/** Steps of one size of batch: seconds of each, and the most bytes that were held meanwhile. */
export interface StepMeasure {
  batch: number;
  seconds: number;
  peak: number;
}

/** value = fixed + perRow · batch. */
export interface Line {
  fixed: number;
  perRow: number;
}

/** The straight line through the smallest and the largest measured batch, never falling; through one alone from `fixed`. */
export function lineOf(measures: readonly StepMeasure[], of: 'seconds' | 'peak', fixed = 0): Line {
  const sorted = [...measures].sort((a, b) => a.batch - b.batch);
  const [first, last] = [sorted[0], sorted.at(-1)];
  if (first === undefined || last === undefined) throw new RangeError('Expected at least one measured batch.');
  if (first.batch === last.batch) return { fixed, perRow: Math.max(0, first[of] - fixed) / first.batch };
  const perRow = Math.max(0, (last[of] - first[of]) / (last.batch - first.batch));
  return { fixed: Math.max(0, last[of] - perRow * last.batch), perRow };
}

export function valueAt({ fixed, perRow }: Line, batch: number): number {
  return fixed + perRow * batch;
}

/** The largest batch whose memory is at most `bytes`; 0 where none is. */
export function largestBatch({ fixed, perRow }: Line, bytes: number): number {
  if (fixed > bytes) return 0;
  return perRow === 0 ? Number.POSITIVE_INFINITY : Math.floor((bytes - fixed) / perRow);
}

export interface TrainingPlan {
  stepsPerEpoch: number;
  epochs: number;
  /** Steps that are done already. */
  done: number;
  /** Steps after which the run stops, if it does. */
  maxSteps: number | undefined;
}

/** Steps and evaluations that are left, and their seconds; `start` is that of the loader's threads in every epoch. */
export function trainingSeconds(
  { stepsPerEpoch, epochs, done, maxSteps }: TrainingPlan,
  each: { step: number; start: number; evaluation: number },
) {
  const all = Math.min(epochs * stepsPerEpoch, maxSteps ?? Number.POSITIVE_INFINITY);
  const steps = Math.max(0, all - done);
  const stops = all < epochs * stepsPerEpoch; // such a run ends before its last epoch's evaluation
  const evaluations = steps === 0 && stops ? 0 : Math.floor(all / stepsPerEpoch) - Math.floor(done / stepsPerEpoch);
  const begun = steps === 0 ? 0 : Math.ceil(all / stepsPerEpoch) - Math.floor(done / stepsPerEpoch);
  return {
    steps,
    evaluations,
    epoch: each.start + stepsPerEpoch * each.step + each.evaluation,
    all: begun * each.start + steps * each.step + evaluations * each.evaluation,
  };
}
