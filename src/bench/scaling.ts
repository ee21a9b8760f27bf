// `bench scaling`: time and peak memory of this program at four numbers of images and four of k_test.
import { join } from 'node:path';
import { type Machine, machine } from './machine.js';
import { writeImages } from './matrices.js';
import { drawCheckpoint, startOwn } from './programs.js';
import { Memory, type ModelSetting, Reranked, Timed } from './protocol.js';
import { withScratch } from './scratch.js';
import { drawCaptions, drawImages } from './workload.js';

export interface ScalingOptions extends Omit<ModelSetting, 'checkpoint'> {
  pretrained?: string;
  /** The largest number of images; the others are an eighth, a quarter and a half of it. */
  images: number;
  /** The largest k; the others likewise. */
  k: number;
  batch: number;
  threads: number;
  seed: number;
}

export interface ScalingPoint {
  images: number;
  texts: number;
  k: number;
  /** (images + texts) · k. */
  pairs: number;
  feature_seconds: number;
  rerank_seconds: number;
  /** Of all threads, features and re-ranking together. */
  cpu_seconds: number;
  peak_bytes: number;
}

export interface ScalingReport {
  machine: Machine;
  versions: Record<string, string>;
  options: ScalingOptions;
  /** k fixed at half its largest, images growing. */
  by_images: ScalingPoint[];
  /** Images fixed at half their largest number, k growing. */
  by_k: ScalingPoint[];
}

/** Captions of an image, as in COCO. */
const captionsPerImage = 5;

/**
 * Measures each size in a process of its own, since a process remembers its peak.
 * @param say receives a line for each size measured
 */
export async function benchScaling(options: ScalingOptions, say: (line: string) => void): Promise<ScalingReport> {
  const at = machine();
  return await withScratch(async (folder) => {
    const checkpoint = options.pretrained ?? join(folder, 'drawn.pth');
    if (options.pretrained === undefined) {
      say(`drawing the weights of vit ${options.vit} by a rule`);
      await drawCheckpoint({ ...options, checkpoint });
    }
    const versions: Record<string, string> = {};
    const measure = async (images: number, k: number): Promise<ScalingPoint> => {
      const point = await measurePoint({ ...options, checkpoint }, folder, images, k, versions);
      say(`${images} images, k ${k}: ${(point.feature_seconds + point.rerank_seconds).toFixed(1)} s`);
      return point;
    };
    const byImages: ScalingPoint[] = [];
    for (const images of growing(options.images)) byImages.push(await measure(images, Math.max(1, options.k >> 1)));
    const byK: ScalingPoint[] = [];
    for (const k of growing(options.k)) byK.push(await measure(Math.max(1, options.images >> 1), k));
    return { machine: at, versions, options, by_images: byImages, by_k: byK };
  });
}

const growing = (largest: number) => [8, 4, 2, 1].map((part) => Math.max(1, Math.floor(largest / part)));

async function measurePoint(
  options: ScalingOptions & { checkpoint: string },
  folder: string,
  images: number,
  k: number,
  versions: Record<string, string>,
): Promise<ScalingPoint> {
  const { vit, image_size, queue_size, device, precision, checkpoint, batch, threads, seed } = options;
  const texts = images * captionsPerImage;
  const file = join(folder, `images_${images}.safetensors`);
  await writeImages(file, drawImages(images, image_size, seed), images, image_size);
  const { worker, hello } = await startOwn(threads, device);
  try {
    Object.assign(versions, hello.versions);
    await worker.ask({ op: 'load', vit, image_size, queue_size, device, precision, checkpoint }, Timed);
    const { seconds } = await worker.ask(
      {
        op: 'rerank',
        images: file,
        captions: drawCaptions(texts, seed),
        k: Math.min(k, images),
        batch,
      },
      Reranked,
    );
    const memory = await worker.ask({ op: 'memory' }, Memory);
    return {
      images,
      texts,
      k: Math.min(k, images),
      pairs: (images + texts) * Math.min(k, images),
      feature_seconds: seconds.features,
      rerank_seconds: seconds.rerank,
      cpu_seconds: seconds.cpu,
      peak_bytes: memory.device_peak_bytes ?? memory.peak_bytes,
    };
  } finally {
    await worker.close();
  }
}
