// `bench scaling`: time and peak memory of this program at four numbers of images and four of k_test.
import { counted } from '../logging/text.js';
import type { Panel } from './curve.js';
import { begin, loadCommand, type ModelOptions, say, startOwn } from './harness.js';
import { Reranked, Timed, type Versions } from './protocol.js';
import { drawInputs } from './workload.js';

export interface ScalingOptions extends ModelOptions {
  /** The largest number of images; the others are an eighth, a quarter and a half of it. */
  images: number;
  /** The largest k; the others likewise. */
  k: number;
}

export type ScalingReport = Awaited<ReturnType<typeof benchScaling>>;
export type ScalingPoint = ScalingReport['by_k'][number];

/** Captions of an image, as in COCO. */
const CAPTIONS_PER_IMAGE = 5;

const growing = (largest: number) => [8, 4, 2, 1].map((part) => Math.max(1, Math.floor(largest / part)));
const half = (largest: number) => Math.max(1, Math.floor(largest / 2));

/** Measures each size in a process of its own, since a process remembers its peak. */
export async function benchScaling(options: ScalingOptions) {
  const { machine, folder } = begin();
  const load = await loadCommand(options, folder);
  let versions: Versions = {};
  const measure = async (images: number, most: number) => {
    const [texts, k] = [images * CAPTIONS_PER_IMAGE, Math.min(most, images)];
    const inputs = await drawInputs(folder, options, images, texts);
    const worker = await startOwn(options.threads, options.device);
    versions = worker.hello.versions;
    const evaluate = () => worker.ask({ op: 'rerank', ...inputs, k }, Reranked);
    const loaded = worker.ask(load, Timed);
    const { seconds, memory } = await loaded.then(evaluate).finally(() => worker.close());
    say(`${counted(images, 'image')}, k ${k}: ${(seconds.features + seconds.rerank).toFixed(1)} s`);
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
  };
  const by_images: Awaited<ReturnType<typeof measure>>[] = [];
  for (const images of growing(options.images)) by_images.push(await measure(images, half(options.k)));
  const by_k: typeof by_images = [];
  for (const k of growing(options.k)) by_k.push(await measure(half(options.images), k));
  return { machine, versions, options, by_images, by_k };
}

/** How time and memory grow, as panels of a picture. */
export function scalingPanels({ by_images, by_k }: ScalingReport): Panel[] {
  type Field = keyof ScalingPoint;
  const panel = (title: string, points: ScalingPoint[], x: Field, xLabel: string, y: Field, yLabel = 'seconds') => {
    const unit = y === 'peak_bytes' ? 2 ** 30 : 1;
    return { title, xLabel, yLabel, points: points.map((point) => [point[x], point[y] / unit] as const) };
  };
  return [
    panel('Evaluation', by_images, 'images', 'images', 'cpu_seconds', 'CPU seconds'),
    panel('Evaluation', by_k, 'pairs', 'pairs, k growing', 'cpu_seconds', 'CPU seconds'),
    panel('Features', by_images, 'images', 'images', 'feature_seconds'),
    panel('Re-ranking', by_images, 'pairs', 'pairs, images growing', 'rerank_seconds'),
    panel('Re-ranking', by_k, 'pairs', 'pairs, k growing', 'rerank_seconds'),
    panel('Peak memory', by_images, 'images', 'images', 'peak_bytes', 'GiB'),
    panel('Peak memory', by_k, 'k', 'k', 'peak_bytes', 'GiB'),
  ];
}
