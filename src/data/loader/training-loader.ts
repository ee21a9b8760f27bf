// Loads the batches of one training epoch, from its start or from where a run is resumed.
import { at } from '../../errors.js';
import type { TrainingSet } from '../training-set.js';
import { ImageLoader, type ImageLoaderOptions } from './loader.js';
import type { TrainingSampler } from './sampler.js';

export interface TrainingLoaderOptions
  extends Pick<ImageLoaderOptions, 'size' | 'workers' | 'slots' | 'skipBadImages'> {
  set: TrainingSet;
  sampler: TrainingSampler;
  epoch: number;
  /** Of the crops and augmentations; the same on every rank, whose samples differ by their position. */
  seed: number;
  /** Number of the epoch's batches that are done already; 0 by default. */
  firstBatch?: number;
}

export interface TrainingEpoch {
  /** Starts with `firstBatch`: batch.start is 0 in the first batch that it returns. */
  loader: ImageLoader;
  /** Rows of the set, in the order of the loader's images. */
  rows: Int32Array;
}

/**
 * Starts loading. A sample's pixels depend only on seed, epoch and its position in the order over all ranks, so a resumed
 * epoch continues exactly as it would have.
 */
export function trainingEpoch(options: TrainingLoaderOptions): TrainingEpoch {
  const { set, sampler, epoch, seed, firstBatch = 0, ...rest } = options;
  const { batchSize, worldSize } = sampler;
  const rows = sampler.order(epoch).subarray(firstBatch * batchSize);
  const { files } = set;
  const loader = new ImageLoader({
    ...rest,
    paths: files?.paths ?? set.images,
    order: files === undefined ? rows : rows.map((row) => at(files.of, row)),
    batchSize,
    transform: { kind: 'train', seed, epoch, first: sampler.position(firstBatch), stride: worldSize },
  });
  return { loader, rows };
}
