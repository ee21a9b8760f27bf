// The training set as the loop takes it: an epoch's batches, from any step on, as pixels on the device and token rows.

import { BadImages, type UnreadImage } from '../data/bad-images.js';
import { TrainingSampler } from '../data/loader/sampler.js';
import { type TrainingEpoch, trainingEpoch } from '../data/loader/training-loader.js';
import { textAt } from '../data/text-list.js';
import type { TrainingSet } from '../data/training-set.js';
import { oneRank } from '../distributed/ranks.js';
import { at } from '../errors.js';
import { imagesFromBytes } from '../model/normalize-images.js';
import type { Tensor } from '../torch/tensor.js';
import type { RunOptions } from './options.js';
import type { Run } from './run.js';

/** One batch as the loop gets it. */
export interface LoadedBatch {
  images: Tensor; // (B, 3, P, P) normalised, on the device; the loop disposes it
  texts: Int32Array[];
  /** Number of each row's image. */
  idx: number[];
  /** Rows of the training file. */
  rows: number[];
  /** Images that could not be read and are grey. */
  unread: UnreadImage[];
}

/** The batches of an epoch. `next` blocks until one is there; null at the end. */
export interface EpochBatches {
  next(): LoadedBatch | null;
  close(): void | Promise<void>;
}

export interface TrainingData {
  /** Rows of the training file. */
  readonly rows: number;
  /** Rows of a step on each rank. */
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  /** Starts loading `epoch`, from step `firstStep` on. */
  open(epoch: number, firstStep: number): EpochBatches;
  /** Whether this rank knows of too many bad images: then all ranks should count. */
  readonly hasTooManyBadImages: boolean;
  /** Counts the bad images of all ranks; all must call it. @throws UserError, on all ranks, when they are too many */
  countBadImages(): void;
}

/** What the data need of a run; programs may leave out the rest. */
export type DataRun = Pick<Run, 'tokenizer' | 'architecture'> &
  Partial<Pick<Run, 'device' | 'ranks'>> & { options?: Partial<Pick<RunOptions, 'seed' | 'skipBadImages'>> };

/** The rows of `set` in batches of `batchSize`, this rank's share of them. */
export function trainingData(run: DataRun, set: TrainingSet, batchSize: number): TrainingData {
  const { tokenizer, architecture, device = 'cpu', options = {} } = run;
  const { seed = 42, skipBadImages = false } = options;
  const { ranks = oneRank } = run;
  const { rank, worldSize } = ranks;
  const sampler = new TrainingSampler({ length: set.images.length, worldSize, rank, batchSize });
  const size = architecture.vision.imageSize;
  const badImages = new BadImages('the train split', set.imageCount);
  const batchesOf = ({ loader, rows: order }: TrainingEpoch): EpochBatches => ({
    next() {
      const batch = loader.next();
      if (batch === null) return null;
      const { start, count, data, bad } = batch;
      if (worldSize === 1) badImages.add(bad);
      else badImages.note(bad);
      const images = imagesFromBytes(data, count, size, device);
      batch.release();
      const rows = [...order.subarray(start, start + count)];
      return {
        images,
        rows,
        texts: rows.map((row) => tokenizer.encode(textAt(set.captions, row)).ids),
        idx: rows.map((row) => at(set.idx, row)),
        unread: bad,
      };
    },
    close: () => loader.close(),
  });
  return {
    rows: set.images.length,
    batchSize,
    stepsPerEpoch: sampler.batches,
    open: (epoch, firstBatch) =>
      batchesOf(trainingEpoch({ set, sampler, size, seed, skipBadImages, epoch, firstBatch })),
    countBadImages: () => {
      if (skipBadImages && worldSize > 1) badImages.exchange(ranks);
    },
    get hasTooManyBadImages() {
      return badImages.areTooMany;
    },
  };
}
