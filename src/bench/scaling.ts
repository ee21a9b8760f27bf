// `bench scaling`: time and peak memory of this program at four numbers of images and four of k_test.
import type { Panel } from './curve.js';
import { checkpointOf, type ModelOptions, machine, say, scratchFolder, startOwn, type Worker } from './harness.js';
import { Reranked, Timed, type Versions } from './protocol.js';
import { drawInputs } from './workload.js';

export interface ScalingOptions extends ModelOptions {
  /** The largest number of images; the others are an eighth, a quarter and a half of it. */
  images: number;
  /** The largest k; the others likewise. */
  k: number;
}

export type ScalingReport = Awaited<ReturnType<typeof benchScaling>>;
export type ScalingPoint = Awaited<ReturnType<typeof evaluate>>;

/** Captions of an image, as in COCO. */
const CAPTIONS_PER_IMAGE = 5;

const growing = (largest: number) => [8, 4, 2, 1].map((part) => Math.max(1, Math.floor(largest / part)));
const half = (largest: number) => Math.max(1, Math.floor(largest / 2));

/** Measures each size in a process of its own, since a process remembers its peak. */
export async function benchScaling(options: ScalingOptions) {
  const startedOn = machine();
  const folder = scratchFolder();
  const checkpoint = await checkpointOf(options, folder);
  let versions: Versions = {};
  const measure = async (images: number, k: number) => {
    const worker = await startOwn(options.threads, options.device);
    versions = worker.hello.versions;
    const size = { ...options, checkpoint, images, k: Math.min(k, images) };
    return await evaluate(worker, folder, size).finally(() => worker.close());
  };
  const by_images: ScalingPoint[] = [];
  for (const images of growing(options.images)) by_images.push(await measure(images, half(options.k)));
  const by_k: ScalingPoint[] = [];
  for (const k of growing(options.k)) by_k.push(await measure(half(options.images), k));
  return { machine: startedOn, versions, options, by_images, by_k };
}

async function evaluate(worker: Worker, folder: string, options: ScalingOptions & { checkpoint: string }) {
  const { checkpoint, vit, image_size, queue_size, device, precision, images, k } = options;
  const texts = images * CAPTIONS_PER_IMAGE;
  const inputs = await drawInputs(folder, options, images, texts);
  await worker.ask({ op: 'load', checkpoint, vit, image_size, queue_size, device, precision }, Timed);
  const { seconds, memory } = await worker.ask({ op: 'rerank', ...inputs, k }, Reranked);
  say(`${images} images, k ${k}: ${(seconds.features + seconds.rerank).toFixed(1)} s`);
  return {
    images,
    texts,
    k,
    pairs: (images + texts) * k,
    feature_seconds: seconds.features,
    rerank_seconds: seconds.rerank,
    cpu_seconds: seconds.cpu,
    peak_bytes: memory.device_peak_bytes ?? memory.peak_bytes,
  };
}

/** How time and memory grow, as panels of a picture. */
export function scalingPanels({ by_images, by_k }: ScalingReport): Panel[] {
  type Field = keyof ScalingPoint;
  const panel = (
    title: string,
    points: ScalingPoint[],
    x: Field,
    y: Field,
    xLabel: string,
    yLabel = 'seconds',
  ): Panel => {
    const unit = y === 'peak_bytes' ? 2 ** 30 : 1;
    return { title, xLabel, yLabel, points: points.map((point) => [point[x], point[y] / unit]) };
  };
  return [
    panel('Evaluation', by_images, 'images', 'cpu_seconds', 'images', 'CPU seconds'),
    panel('Evaluation', by_k, 'pairs', 'cpu_seconds', 'pairs, k growing', 'CPU seconds'),
    panel('Features', by_images, 'images', 'feature_seconds', 'images'),
    panel('Re-ranking', by_images, 'pairs', 'rerank_seconds', 'pairs, images growing'),
    panel('Re-ranking', by_k, 'pairs', 'rerank_seconds', 'pairs, k growing'),
    panel('Peak memory', by_images, 'images', 'peak_bytes', 'images', 'GiB'),
    panel('Peak memory', by_k, 'k', 'peak_bytes', 'k', 'GiB'),
  ];
}
