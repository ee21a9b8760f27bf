// The batches of an epoch as the training loop takes them: pixels on the device, token rows, numbers of the images.
import { type TrainingLoaderOptions, trainingEpoch } from '../data/loader/training-loader.js';
import { normalizeImages } from '../model/normalize-images.js';
import * as ops from '../torch/ops.js';
import { type Device, scope, type Tensor } from '../torch/tensor.js';

/** One batch as the loop gets it. */
export interface LoadedBatch {
  images: Tensor; // (B, 3, P, P) normalised, on the device; the loop disposes it
  texts: Int32Array[];
  /** Number of each row's image. */
  idx: number[];
  /** Rows of the training file. */
  rows: number[];
  /** Images that could not be read and are grey, as paths. */
  unread: string[];
}

/** The batches of an epoch from some step on. `next` blocks until one is there; null at the end. */
export interface EpochBatches {
  next(): LoadedBatch | null;
  close(): void | Promise<void>;
}

/** What all epochs of a run have in common; `tokens` are the token rows of the set's captions. */
export type EpochOptions = Omit<TrainingLoaderOptions, 'epoch' | 'firstBatch'> & {
  tokens: readonly Int32Array[];
  device: Device;
};

/** Starts the loader's workers on `epoch`, from batch `firstBatch` on. */
export function epochBatches(options: EpochOptions, epoch: number, firstBatch: number): EpochBatches {
  const { tokens, device, ...rest } = options;
  const { set, size } = rest;
  const { loader, rows: order } = trainingEpoch({ ...rest, epoch, firstBatch });
  return {
    next() {
      const batch = loader.next();
      if (batch === null) return null;
      const rows = [...order.subarray(batch.start, batch.start + batch.count)];
      const bytes = batch.data.subarray(0, batch.count * size * size * 3);
      const images = scope(() => normalizeImages(ops.fromBytes(bytes, 'uint8', [batch.count, size, size, 3]), device));
      batch.release();
      return {
        images,
        rows,
        texts: rows.map((row) => tokens[row] ?? new Int32Array()),
        idx: rows.map((row) => set.idx[row] ?? 0),
        unread: batch.bad.map(({ path }) => path),
      };
    },
    close: () => loader.close(),
  };
}
