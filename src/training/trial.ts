// A few steps of training on the real model and data, for a dry run: what they take. The model is changed by them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TrainingSet } from '../data/training-set.js';
import { oneRank } from '../distributed/ranks.js';
import { at } from '../errors.js';
import { memoryMeter } from '../torch/device-memory.js';
import { lineOf, type StepMeasure, valueAt } from './estimate.js';
import type { Run } from './run.js';
import { initialState } from './run-state.js';
import { type EpochTrainer, trainEpoch } from './train.js';
import { trainingData } from './training-data.js';

/** The batch that memory and time are measured with first, unless the config's is smaller. */
export const SMALLEST = 2;
/** A batch of this size or less says too little alone, as does any whose step takes fewer seconds than QUICK. */
const SMALL = 2;
const QUICK = 0.5;
/** The config's batch itself is tried where a step of it takes at most so many seconds. */
const LONGEST_STEP = 30;
/** Seconds of steps of the config's batch, and how many steps at least: the first is not counted. */
const SECONDS = 6;
const LEAST_STEPS = 2;
const MOST_STEPS = 40;

export interface TrainingTrial {
  /** By batch, ascending; the config's own is among them where it was tried. */
  measures: StepMeasure[];
  /** Seconds in which the loader's threads start. */
  start: number;
}

/** Steps of `batch` rows until `most` seconds are over. Nothing is written but into a folder that is removed. */
async function steps(
  run: Run,
  trainer: Omit<EpochTrainer, 'data' | 'signals'>,
  set: TrainingSet,
  batch: number,
  most: number,
) {
  const data = trainingData({ ...run, ranks: oneRank }, set, batch);
  const outputDir = mkdtempSync(join(tmpdir(), 'blip-dry-run-'));
  const marks: number[] = [];
  let arrived = Number.NaN;
  const mark = () => marks.push(performance.now() / 1e3);
  const isOver = () => {
    const done = marks.length;
    return done >= MOST_STEPS || (done >= LEAST_STEPS && performance.now() / 1e3 - at(marks, 0) >= most);
  };
  const meter = memoryMeter(run.device);
  meter.reset();
  try {
    await trainEpoch(
      {
        ranks: oneRank,
        logger: { quiet: true },
        print: () => {},
        options: {
          outputDir,
          training: { accumulate: 1, logEvery: MOST_STEPS, saveEvery: undefined, maxSteps: undefined },
        },
      },
      {
        ...trainer,
        signals: {
          get caught() {
            return isOver() ? ('SIGTERM' as const) : undefined; // the loop's way to end early
          },
        },
        data: {
          ...data,
          open(epoch, step) {
            const batches = data.open(epoch, step);
            const next = () => {
              mark();
              const got = batches.next();
              if (marks.length === 1) arrived = performance.now() / 1e3;
              return got;
            };
            return { next, close: () => batches.close() };
          },
        },
      },
      initialState(),
      1e-7,
      async () => {},
    );
  } finally {
    rmSync(outputDir, { recursive: true, force: true });
  }
  mark();
  const each = marks.slice(1).map((end, i) => end - at(marks, i));
  const counted = each.length > 4 ? each.slice(3) : each.slice(Math.min(1, each.length - 1));
  const seconds = counted.reduce((sum, one) => sum + one, 0) / counted.length;
  return { measure: { batch, seconds, peak: meter.peak() }, start: arrived - at(marks, 0) };
}

interface Sizes {
  /** The config's. */
  batch: number;
  /** More rows than the training set has cannot be tried. */
  rows: number;
  /** Whether so many bytes are there. */
  fits(bytes: number): boolean;
}

/**
 * The batch to measure after those of `measures`, which ascend; undefined where they are enough. Small batches first, then the
 * config's, if it fits by what the small ones need and a step does not take long. Steps that are quick are of batches that
 * hardly need memory: what a row adds is lost among what the allocator does, so that larger batches are tried too.
 */
export function nextBatch(measures: readonly StepMeasure[], { batch, rows, fits }: Sizes): number | undefined {
  const last = measures.at(-1);
  if (last === undefined) return Math.min(SMALLEST, batch);
  // A lone one tells no more than an upper bound.
  const isAllowed = (size: number) =>
    valueAt(lineOf(measures, 'seconds'), size) <= LONGEST_STEP && fits(valueAt(lineOf(measures, 'peak'), size));
  const isQuick = last.seconds < QUICK;
  const larger = last.batch <= SMALL ? 2 * last.batch : 4 * last.batch;
  if (last.batch < batch) {
    const next = (isQuick || last.batch <= SMALL) && larger < batch ? larger : batch;
    return isAllowed(next) ? next : undefined;
  }
  return isQuick && larger <= rows && isAllowed(larger) ? larger : undefined;
}

/** Measures steps of the batches that nextBatch says. */
export async function tryTraining(
  run: Run,
  trainer: Omit<EpochTrainer, 'data' | 'signals'>,
  { set, batch, fits }: Pick<Sizes, 'batch' | 'fits'> & { set: TrainingSet },
): Promise<TrainingTrial> {
  const measures: StepMeasure[] = [];
  let start = 0;
  const sizes = { batch, rows: set.captions.length, fits };
  for (let size = nextBatch(measures, sizes); size !== undefined; size = nextBatch(measures, sizes)) {
    const found = await steps(run, trainer, set, size, size === batch ? SECONDS : 0);
    measures.push(found.measure);
    start = found.start;
  }
  return { measures, start };
}
