// `bench open`, `overhead`, `loader`, `train-loader`: one small piece of work, measured in both programs alternately.
import { at, UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { begin, checkpointOf, scratchFolder } from './harness.js';
import { type Command, Epoch, Timed } from './protocol.js';
import { alternate, both, type ComparisonOptions } from './rivals.js';
import { summary } from './statistics.js';
import { drawDataset } from './workload.js';

export type SmallReport = Awaited<ReturnType<typeof compare>>;

/** Opening a checkpoint: every tensor named and mapped, no number read. Without `pretrained` one of base size is drawn. */
export async function benchOpen(options: ComparisonOptions & { pretrained?: string }) {
  const published = { vit: 'base', image_size: 384, queue_size: 57600 } as const;
  const checkpoint = await checkpointOf({ ...published, ...options }, scratchFolder());
  return await compare(options, { op: 'open', checkpoint }, 'ms to open the checkpoint', 1e3);
}

/** What one call of one operator costs beyond its arithmetic: the sum of two tensors of four elements. */
export async function benchOverhead(options: ComparisonOptions) {
  const calls = 100_000;
  return await compare(options, { op: 'overhead', calls }, 'µs a call of add', 1e6 / calls);
}

/** The evaluation transform in one thread: JPEG files of COCO's size, decoded, resized to a square, normalised. */
export async function benchLoader(options: ComparisonOptions & { images: number; image_size: number }) {
  const { images, image_size } = options;
  const folder = scratchFolder();
  await drawDataset(folder, images);
  return await compare(options, { op: 'transform', folder, image_size }, 'ms an image', 1e3 / images);
}

/** The same command in both programs; seconds times `scale` are in `unit`. */
async function compare(options: ComparisonOptions, command: Command, unit: string, scale: number) {
  const { machine, folder } = begin();
  const { versions, turns } = await alternate(folder, { ...options, command: () => command, answer: Timed });
  const { own, reference } = both((name) => summary(turns[name].map(({ seconds }) => seconds * scale)));
  return { machine, versions, unit, own, reference, ratio: reference.min / own.min };
}

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
    const what = `${counted(images, 'image')} of ${ROWS_PER_IMAGE} rows each cannot fill a batch of ${batch}`;
    throw new UserError(`${what}. Raise --images or lower --batch.`, { exitCode: 2 });
  }
  const { machine, folder } = begin();
  await drawDataset(folder, images, rows);
  const { turns } = await alternate(folder, {
    ...options,
    threads: 1,
    fresh: true,
    command: () => ({ op: 'epoch', folder, image_size, batch, workers }),
    answer: Epoch,
  });
  /** Milliseconds an image: CPU time of all threads and processes together, and time by the clock. */
  const { own, reference } = both((name) => ({
    cpu: summary(turns[name].map(({ cpu_seconds, images }) => (1e3 * cpu_seconds) / images)),
    elapsed: summary(turns[name].map(({ seconds, images }) => (1e3 * seconds) / images)),
  }));
  const versions = { ...at(turns.own, 0).versions, ...at(turns.reference, 0).versions };
  const ratio = { cpu: reference.cpu.min / own.cpu.min, elapsed: reference.elapsed.min / own.elapsed.min };
  return { machine, versions, options, own, reference, ratio };
}
