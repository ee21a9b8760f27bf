// The work that both programs are given, drawn from a seed: captions as long as COCO's, images, files of both.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { annotationFileName } from '../data/annotations.js';
import { Random } from '../demo/random.js';
import { at, get } from '../errors.js';
import { readSafetensors, writeSafetensors } from '../torch/safetensors.js';
import type { Inputs } from './protocol.js';

/** Words of a caption, in the order of a sentence; repeated until the caption is long enough. */
const PARTS: readonly (readonly string[])[] = [
  'a the one another this',
  'young large small old white black brown red wooden green empty busy',
  'man woman dog cat train bus table kitchen street horse boat pizza bench giraffe',
  'sitting standing parked riding walking lying waiting playing looking eating',
  'near beside behind under above across with on in by',
].map((words) => words.split(' '));

/** Words of a caption and percent of captions with so many, close to COCO's: mean 10.4, a tail beyond 20. */
const LENGTHS = [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 22, 27];
const PERCENT = [13, 25, 25, 15, 9, 5, 3, 2, 1.2, 0.8, 0.6, 0.3, 0.1];
/** Running sums of PERCENT. */
const UP_TO = PERCENT.map((_, i) => PERCENT.slice(0, i + 1).reduce((sum, percent) => sum + percent, 0));

/** `count` captions of COCO's length distribution. */
export function drawCaptions(count: number, seed: number): string[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const share = random.next() * at(UP_TO, UP_TO.length - 1);
    const length = at(
      LENGTHS,
      UP_TO.findIndex((sum) => share < sum),
    );
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
  mkdirSync(join(folder, 'val'));
  const files = Array.from({ length: images }, (_, i) => `val/${i}.jpg`);
  for (const [i, file] of files.entries()) {
    const pixels = drawImages(1, 640, i).subarray(0, 480 * 640 * 3);
    const image = sharp(pixels, { raw: { width: 640, height: 480, channels: 3 } });
    await image.jpeg({ quality: 92 }).toFile(join(folder, file));
  }
  const write = (split: 'train' | 'val' | 'test', rows: readonly object[]) =>
    writeFileSync(join(folder, annotationFileName('coco', split)), JSON.stringify(rows));
  const caption = 'a drawing';
  const trainRow = (i: number) => ({ image: at(files, i % images), caption, image_id: `${i % images}` });
  write(
    'train',
    Array.from({ length: trainRows }, (_, i) => trainRow(i)),
  );
  for (const split of ['val', 'test'] as const)
    write(
      split,
      files.map((image) => ({ image, caption: [caption] })),
    );
}

/** Draws images and captions; the images go to a file in `folder`. */
export async function drawInputs(
  folder: string,
  { image_size: size, batch, seed }: { image_size: number; batch: number; seed: number },
  images: number,
  texts: number,
): Promise<Inputs> {
  const path = join(folder, 'images.safetensors');
  const data = drawImages(images, size, seed);
  await writeSafetensors(path, new Map([['images', { dtype: 'uint8', shape: [images, size, size, 3], data }]]));
  return { images: path, captions: drawCaptions(texts, seed), batch };
}

/** The images of `drawInputs`: their number, and (count, size, size, 3) pixels. */
export function readImages(path: string): { count: number; size: number; pixels: Uint8Array } {
  const { shape, data } = get(readSafetensors(path), 'images');
  return { count: at(shape, 0), size: at(shape, 1), pixels: data };
}
