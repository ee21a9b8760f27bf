// The work that both programs are given, drawn from a seed: captions as long as COCO's, images, files of both.
import { join } from 'node:path';
import { Random } from '../data/random.js';
import { writeJpeg, writeSplit } from '../demo/data-set.js';
import { at, get } from '../errors.js';
import { readSafetensors, writeSafetensors } from '../torch/safetensors.js';
import type { ModelOptions } from './harness.js';

/** Words of a caption, in the order of a sentence; repeated until the caption is long enough. */
const PARTS: readonly (readonly string[])[] = [
  'a the one another this',
  'young large small old white black brown red wooden green empty busy',
  'man woman dog cat train bus table kitchen street horse boat pizza bench giraffe',
  'sitting standing parked riding walking lying waiting playing looking eating',
  'near beside behind under above across with on in by',
].map((words) => words.split(' '));

/** Of 1,000 captions how many have so many words, close to COCO's: mean 10.4, a tail beyond 20. */
const PER_MILLE = {
  8: 130,
  9: 250,
  10: 250,
  11: 150,
  12: 90,
  13: 50,
  14: 30,
  15: 20,
  16: 12,
  17: 8,
  19: 6,
  22: 3,
  27: 1,
};
const LENGTHS = Object.entries(PER_MILLE).flatMap(([words, count]) => Array<number>(count).fill(Number(words)));

/** `count` captions of COCO's length distribution. */
export function drawCaptions(count: number, seed: number): string[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const length = random.pick(LENGTHS);
    return Array.from({ length }, (_, word) => random.pick(at(PARTS, word % PARTS.length))).join(' ');
  });
}

/**
 * `count` images of decoded pixels, uint8 (count, size, size, 3): for each image and colour another wave with noise,
 * so that features differ from image to image.
 */
export function drawImages(count: number, size: number, seed: number): Uint8Array {
  const random = new Random(seed);
  const pixels = new Uint8Array(count * size * size * 3);
  for (let plane = 0; plane < count * 3; plane++) {
    const image = Math.floor(plane / 3) * size * size;
    const level = 70 + random.next() * 116;
    const [fx, fy, phase] = [random.next() * 12, random.next() * 12, random.next() * 2 * Math.PI];
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const wave = Math.sin((fx * x + fy * y) / size + phase);
        pixels[(image + y * size + x) * 3 + (plane % 3)] = level + 45 * wave + 50 * (random.next() - 0.5);
      }
    }
  }
  return pixels;
}

/** The image of each of `texts` captions: in order, as evenly as possible, each image at least once. */
export function spreadTexts(texts: number, images: number): number[] {
  return Array.from({ length: texts }, (_, text) => Math.floor((text * images) / texts));
}

/**
 * JPEG files of 640 x 480 pixels and, since the reference's data module opens all three, annotations of every split.
 * @param trainRows rows of the train split, among which the images repeat in order
 */
export async function drawDataset(folder: string, images: number, trainRows = 1): Promise<void> {
  const files = Array.from({ length: images }, (_, i) => `${i}.jpg`);
  for (const [i, file] of files.entries()) {
    const pixels = drawImages(1, 640, i).subarray(0, 480 * 640 * 3);
    await writeJpeg(join(folder, file), { width: 640, height: 480, pixels });
  }
  const caption = 'a drawing';
  const trainRow = (i: number) => ({ image: at(files, i), caption, image_id: String(i) });
  const train = Array.from({ length: trainRows }, (_, i) => trainRow(i % images));
  writeSplit(folder, 'train', train);
  const rows = files.map((image) => ({ image, caption: [caption] }));
  for (const split of ['val', 'test'] as const) writeSplit(folder, split, rows);
}

type ImageOptions = Pick<ModelOptions, 'image_size' | 'batch' | 'seed'>;

/** Draws images and captions; the images go to a file in `folder`. */
export async function drawInputs(folder: string, options: ImageOptions, images: number, texts: number) {
  const { image_size: size, batch, seed } = options;
  const path = join(folder, 'images.safetensors');
  const data = drawImages(images, size, seed);
  await writeSafetensors(path, new Map([['images', { dtype: 'uint8', shape: [images, size, size, 3], data }]]));
  return { images: path, captions: drawCaptions(texts, seed), batch };
}

/** The images of `drawInputs`, each (size, size, 3) pixels. */
export function readImages(path: string): Uint8Array[] {
  const { shape, data } = get(readSafetensors(path), 'images');
  const one = data.length / at(shape, 0);
  return Array.from({ length: at(shape, 0) }, (_, image) => data.subarray(image * one, (image + 1) * one));
}
