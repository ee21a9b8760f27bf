// The batches of one epoch of training, from its beginning or from where a run was resumed.

import type { TrainingSet } from '../training-set.js';
import { ImageLoader, type ImageLoaderOptions } from './loader.js';
import type { TrainingSampler } from './sampler.js';

export interface TrainingLoaderOptions
  extends Pick<ImageLoaderOptions, 'size' | 'workers' | 'slots' | 'skipBadImages'> {
  set: TrainingSet;
  sampler: TrainingSampler;
  epoch: number;
  /** Of the crops and augmentations; the same on every rank, whose samples differ by their place. */
  seed: number;
  /** Batches of the epoch that were trained before; 0 when left out. */
  firstBatch?: number;
}

export interface TrainingEpoch {
  /** Its batches count from `firstBatch`: batch.start is 0 in the first that it gives. */
  loader: ImageLoader;
  /** Rows of the set whose images the loader gives, in its order. */
  rows: Int32Array;
}

/**
 * Starts loading. A sample's pixels follow from seed, epoch and its place in the order over all ranks, so an epoch that
 * is taken up in the middle goes on as it would have.
 */
export function trainingEpoch(options: TrainingLoaderOptions): TrainingEpoch {
  const { set, sampler, epoch, seed, firstBatch = 0, ...rest } = options;
  const { batchSize, world } = sampler;
  const rows = sampler.order(epoch).subarray(firstBatch * batchSize);
  const loader = new ImageLoader({
    ...rest,
    paths: Array.from(rows, (row) => set.images[row] ?? ''),
    batchSize,
    transform: { kind: 'train', seed, epoch, first: sampler.place(firstBatch), stride: world },
  });
  return { loader, rows };
}
