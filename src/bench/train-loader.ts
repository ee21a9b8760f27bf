// `bench train-loader`: images with the training transforms a second, from this program's loader and PyTorch's.
import { at, UserError } from '../errors.js';
import { alternate, type ComparisonOptions, machine, scratchFolder } from './harness.js';
import { Epoch } from './protocol.js';
import { summary } from './statistics.js';
import { drawDataset } from './workload.js';

export interface TrainLoaderOptions extends Omit<ComparisonOptions, 'threads'> {
  /** Worker threads of this program's loader, worker processes of PyTorch's. */
  workers: number;
  /** Image files that are drawn. */
  images: number;
  image_size: number;
  batch: number;
}

export type TrainLoaderReport = Awaited<ReturnType<typeof benchTrainLoader>>;

/** Each image is in many rows, since in an epoch of COCO the time in which the workers start is negligible. */
export const ROWS_PER_IMAGE = 64;

/**
 * Runs complete epochs, each in a process of its own with one thread for tensors.
 * @throws UserError when there is no checkout, or Python lacks a package
 */
export async function benchTrainLoader(options: TrainLoaderOptions) {
  const { workers, images, image_size, batch } = options;
  const rows = images * ROWS_PER_IMAGE;
  if (rows < batch) {
    const what = `${images} images of ${ROWS_PER_IMAGE} rows each do not fill a batch of ${batch}`;
    throw new UserError(`${what}. Raise --images or lower --batch.`, { exitCode: 2 });
  }
  const folder = scratchFolder();
  await drawDataset(folder, images, rows);
  const startedOn = machine();
  const { turns } = await alternate(folder, {
    ...options,
    threads: 1,
    fresh: true,
    command: () => ({ op: 'epoch', folder, image_size, batch, workers }),
    answer: Epoch,
  });
  const [own, reference] = [imageTimes(turns.own), imageTimes(turns.reference)];
  const versions = { ...at(turns.own, 0).versions, ...at(turns.reference, 0).versions };
  const ratio = { cpu: reference.cpu.min / own.cpu.min, elapsed: reference.elapsed.min / own.elapsed.min };
  return { machine: startedOn, versions, options, own, reference, ratio };
}

/** Milliseconds an image: CPU time of all threads and processes together, and time by the clock. */
function imageTimes(epochs: readonly Epoch[]) {
  const perImage = (of: (epoch: Epoch) => number) => summary(epochs.map((epoch) => (1e3 * of(epoch)) / epoch.images));
  return { cpu: perImage((epoch) => epoch.cpu_seconds), elapsed: perImage((epoch) => epoch.seconds) };
}
