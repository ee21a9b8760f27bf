// This program's side of `bench train-loader`: one epoch of training images, normalised on the CPU as the reference does.
import { TrainingSampler } from '../../data/loader/sampler.js';
import { trainingEpoch } from '../../data/loader/training-loader.js';
import { loadTrainingSet } from '../../data/training-set.js';
import { normalizeImages } from '../../model/normalize-images.js';
import * as ops from '../../torch/ops.js';
import { scope } from '../../torch/tensor.js';
import type { CommandOf, Epoch } from '../protocol.js';
import { cpuSeconds } from './work.js';

export async function loadEpoch(work: CommandOf<'epoch'>): Promise<Omit<Epoch, 'versions'>> {
  const { folder, image_size: size, batch: batchSize, workers } = work;
  const set = await loadTrainingSet({ annRoot: folder, imageRoot: folder, dataset: 'coco' });
  const sampler = new TrainingSampler({ length: set.images.length, worldSize: 1, rank: 0, batchSize });
  const [start, cpu] = [performance.now(), cpuSeconds()];
  const { loader, rows } = trainingEpoch({ set, sampler, epoch: 0, seed: 42, size, workers });
  for (let batch = loader.next(); batch !== null; batch = loader.next()) {
    const { data, count, release } = batch;
    scope(() => void normalizeImages(ops.fromBytes(data, 'uint8', [count, size, size, 3]), 'cpu'));
    release();
  }
  loader.close();
  return { seconds: (performance.now() - start) / 1e3, cpu_seconds: cpuSeconds() - cpu, images: rows.length };
}
