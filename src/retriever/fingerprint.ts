// Which weights a model has, whatever file they are from.
import { createHash } from 'node:crypto';
import { get } from '../errors.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';

/** Elements that are looked at, at the beginning, in the middle and at the end of each tensor. */
const SAMPLE = 64;

/**
 * SHA-256 over names, shapes and a sample of the values of a state dict in float32: equal for the same weights as .pth,
 * safetensors or a folder of Hugging Face's. A sample is enough to tell checkpoints apart: training changes every tensor.
 */
export function fingerprintOf(state: ReadonlyMap<string, Tensor>): string {
  const hash = createHash('sha256');
  for (const name of [...state.keys()].sort()) {
    const tensor = get(state, name);
    hash.update(`${name} [${tensor.shape}]\n`);
    for (const bytes of scope(() => sampleOf(tensor))) hash.update(bytes);
  }
  return hash.digest('hex');
}

function sampleOf(tensor: Tensor): Uint8Array[] {
  const { numel } = tensor;
  const flat = ops.reshape(tensor, [numel]);
  const starts = numel <= 3 * SAMPLE ? [0] : [0, Math.floor((numel - SAMPLE) / 2), numel - SAMPLE];
  return starts.map((start) => {
    const part = ops.slice(flat, 0, start, Math.min(numel, start + (starts.length === 1 ? numel : SAMPLE)));
    return ops.to(part, { dtype: 'float32' }).bytes();
  });
}
