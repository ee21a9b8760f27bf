// Memory that training needs, from the model's sizes: what is kept whatever the batch, and what each row of it adds.

import type { Architecture } from '../model/architecture.js';
import { isBuffer, momentumTwin, patchesOf, stateDictEntries } from '../model/state-dict.js';
import { DTYPES } from '../torch/dtype.js';
import type { Precision } from '../torch/precision.js';

/** Bytes, by what they hold. */
export interface KeptBytes {
  /** Weights of the online model. */
  weights: number;
  /** Their momentum copies. */
  momentum: number;
  queues: number;
  gradients: number;
  /** AdamW's two averages of each weight. */
  averages: number;
}

/** What training keeps from the first step to the last: exact, since the sizes say it. */
export function keptBytes(architecture: Architecture): KeptBytes {
  const kept = { weights: 0, momentum: 0, queues: 0 };
  for (const [name, shape, dtype] of stateDictEntries(architecture)) {
    const kind = isBuffer(name) ? 'queues' : momentumTwin(name) === undefined ? 'weights' : 'momentum';
    kept[kind] += shape.reduce((product, size) => product * size, DTYPES[dtype].bytes);
  }
  return { ...kept, gradients: kept.weights, averages: 2 * kept.weights };
}

export const sumOf = (bytes: KeptBytes): number =>
  Object.values(bytes).reduce((sum: number, part: number) => sum + part, 0);

/** What decides the activations of a step. */
export interface StepSizes {
  architecture: Architecture;
  precision: Precision;
  /** Last blocks of the vision encoder that recompute their activations. */
  checkpointedBlocks: number;
}

/**
 * The least bytes that one row's image adds: what autograd must keep of the vision encoder between forward and backward.
 * Its texts, the allocator's gaps and the operators' work space come on top.
 */
export function leastBytesOfRow({ architecture, precision, checkpointedBlocks }: StepSizes): number {
  const { vision } = architecture;
  const tokens = patchesOf(vision) + 1;
  const plain = Math.max(0, vision.depth - checkpointedBlocks);
  const recomputed = Math.min(vision.depth, checkpointedBlocks);
  // A block keeps the inputs of its products (D, D, D, 4 D), queries, keys and values (3 D), gelu's input (4 D), and in
  // float32 also under autocast the residual stream, twice.
  const half = precision === 'bf16' ? 2 : 4;
  const block = tokens * vision.width * (14 * half + 2 * 4);
  const input = tokens * vision.width * 4;
  return plain * block + recomputed * input + (recomputed > 0 ? block : 0);
}

/** A process without any model: Node, LibTorch, the loader's workers. */
const PROCESS = 0.5e9;
/** How much more a row adds than what must be kept, with texts, gradients and gaps: base size, float32, CPU. */
const MORE = 2.2;

/** About the bytes of training with batches of `batch` rows, from the sizes alone. A dry run measures instead. */
export function estimatedTrainingBytes(sizes: StepSizes, batch: number): number {
  return PROCESS + sumOf(keptBytes(sizes.architecture)) + batch * MORE * leastBytesOfRow(sizes);
}
