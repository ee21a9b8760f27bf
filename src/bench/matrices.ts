// The files that pass between the programs: decoded images there, score matrices back.
import { UserError } from '../errors.js';
import type { DType } from '../torch/dtype.js';
import { readSafetensors, type SafeTensor, writeSafetensors } from '../torch/safetensors.js';

/** Both directions' scores, row by row; -100 where a pair was not re-ranked. */
export interface ScoreMatrices {
  /** (images, texts) */
  i2t: Float32Array;
  /** (texts, images) */
  t2i: Float32Array;
}

/** @param pixels uint8 (count, size, size, 3) */
export async function writeImages(path: string, pixels: Uint8Array, count: number, size: number): Promise<void> {
  await writeSafetensors(path, new Map([['images', { dtype: 'uint8', shape: [count, size, size, 3], data: pixels }]]));
}

/** @throws UserError when the file holds no such images */
export function readImages(path: string): { count: number; size: number; pixels: Uint8Array } {
  const { shape, data } = named(path, 'images', 'uint8');
  return { count: shape[0] ?? 0, size: shape[1] ?? 0, pixels: data };
}

export async function writeScores(
  path: string,
  { i2t, t2i }: ScoreMatrices,
  images: number,
  texts: number,
): Promise<void> {
  const matrix = (rows: number, columns: number, scores: Float32Array): SafeTensor => ({
    dtype: 'float32',
    shape: [rows, columns],
    data: new Uint8Array(scores.buffer, scores.byteOffset, scores.byteLength),
  });
  await writeSafetensors(
    path,
    new Map(Object.entries({ i2t: matrix(images, texts, i2t), t2i: matrix(texts, images, t2i) })),
  );
}

/** @throws UserError when the file holds no such scores */
export function readScores(path: string): ScoreMatrices {
  const floats = (name: string) => new Float32Array(named(path, name, 'float32').data.buffer);
  return { i2t: floats('i2t'), t2i: floats('t2i') };
}

function named(path: string, name: string, dtype: DType): SafeTensor {
  const tensor = readSafetensors(path).get(name);
  if (tensor?.dtype !== dtype) throw new UserError(`${path} holds no ${dtype} tensor ${name}.`);
  return tensor;
}
