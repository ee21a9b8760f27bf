// The files that pass between the programs: decoded images to them, score matrices back.
import { join } from 'node:path';
import { at, UserError } from '../errors.js';
import { denseScores, type ScoreRows } from '../evaluation/scores.js';
import type { DType } from '../torch/dtype.js';
import { readSafetensors, type SafeTensor, writeSafetensors } from '../torch/safetensors.js';
import type { Inputs } from './protocol.js';
import { drawCaptions, drawImages } from './workload.js';

/** Both directions' scores, (images, texts) and (texts, images); NOT_RERANKED where a pair was not re-ranked. */
export interface ScoreMatrices {
  i2t: Float32Array;
  t2i: Float32Array;
}

/** @param pixels uint8 (count, size, size, 3) */
export async function writeImages(path: string, pixels: Uint8Array, count: number, size: number): Promise<void> {
  await writeSafetensors(path, new Map([['images', { dtype: 'uint8', shape: [count, size, size, 3], data: pixels }]]));
}

/** Draws images and captions; the images go to a file in `folder`. */
export async function writeInputs(
  folder: string,
  { image_size, batch, seed }: { image_size: number; batch: number; seed: number },
  images: number,
  texts: number,
): Promise<Inputs> {
  const path = join(folder, 'images.safetensors');
  await writeImages(path, drawImages(images, image_size, seed), images, image_size);
  return { images: path, captions: drawCaptions(texts, seed), batch };
}

/** @throws UserError when the file holds no such images */
export function readImages(path: string): { count: number; size: number; pixels: Uint8Array } {
  const { shape, data } = named(path, 'images', 'uint8');
  return { count: at(shape, 0), size: at(shape, 1), pixels: data };
}

export async function writeScores(path: string, { i2t, t2i }: { i2t: ScoreRows; t2i: ScoreRows }): Promise<void> {
  const matrix = (scores: ScoreRows): SafeTensor => ({
    dtype: 'float32',
    shape: [scores.rows, scores.columns],
    data: new Uint8Array(denseScores(scores).buffer),
  });
  await writeSafetensors(path, new Map(Object.entries({ i2t: matrix(i2t), t2i: matrix(t2i) })));
}

/** @throws UserError when the file holds no such scores */
export function readScores(path: string): ScoreMatrices {
  const floats = (name: string) => new Float32Array(named(path, name, 'float32').data.buffer);
  return { i2t: floats('i2t'), t2i: floats('t2i') };
}

function named(path: string, name: string, dtype: DType): SafeTensor {
  const tensor = readSafetensors(path).get(name);
  if (tensor?.dtype !== dtype) throw new UserError(`${path} has no tensor ${name} of ${dtype}.`);
  return tensor;
}
