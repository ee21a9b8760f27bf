// Memory that training needs, from the model's sizes: what is kept whatever the batch, and what each row of it adds.
import { formatBytes } from '../disk/space.js';
import { UserError } from '../errors.js';
import { type Architecture, PATCH_SIZE } from '../model/architecture.js';
import { sparesRecomputation } from '../model/recomputation.js';
import { isBuffer, momentumTwin, patchesOf, stateDictEntries } from '../model/state-dict.js';
import { activationBytes } from '../model/vision-transformer.js';
import { DTYPES } from '../torch/dtype.js';
import type { Precision } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';

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

export function sumOf({ weights, momentum, queues, gradients, averages }: KeptBytes): number {
  return weights + momentum + queues + gradients + averages;
}

/** What decides the activations of a step. */
export interface StepSizes {
  architecture: Architecture;
  precision: Precision;
  device: Device;
  /** Last blocks of the vision encoder that recompute their activations where memory is short. */
  checkpointedBlocks: number;
  /** Ranks that share the memory. */
  ranks: number;
}

/**
 * Blocks that will recompute in steps of `batch` rows, where `free` bytes are available to all ranks before their models are
 * made: as TrainingModel decides it in the first step.
 */
export function recomputedBlocks(sizes: StepSizes, batch: number, free: number): number {
  const { weights, momentum, queues } = keptBytes(sizes.architecture);
  const left = free - sizes.ranks * (PROCESS + weights + momentum + queues);
  return sparesRecomputation({ ...sizes, images: batch }, left) ? 0 : sizes.checkpointedBlocks;
}

/**
 * The least bytes that one row's image adds, with so many recomputed blocks: what autograd must keep of the vision encoder
 * between forward and backward. Its texts, gradients, the allocator's gaps and the operators' work space come on top.
 */
export function leastBytesOfRow({ architecture, precision }: StepSizes, blocks: number): number {
  const { vision } = architecture;
  const tokens = patchesOf(vision) + 1;
  const recomputed = Math.min(vision.depth, blocks);
  const block = activationBytes(vision, precision);
  const input = tokens * vision.width * 4;
  return (vision.depth - recomputed) * block + recomputed * input + (recomputed > 0 ? block : 0);
}

/** A process without any model: Node, LibTorch, the loader's workers. */
const PROCESS = 0.3e9;
/**
 * How much more a row adds than the least, in activations of the whole vision encoder: its texts, keys and values, what the
 * momentum encoders have for a moment, gaps. Measured at base size in float32 on a CPU, with blocks that recompute and without.
 */
const MORE = 0.65;

/** About the bytes of training with batches of `batch` rows where `free` are available, from the sizes alone. A dry run measures. */
export function estimatedTrainingBytes(sizes: StepSizes, batch: number, free: number): number {
  const { vision } = sizes.architecture;
  const least = leastBytesOfRow(sizes, recomputedBlocks(sizes, batch, free));
  const row = least + MORE * vision.depth * activationBytes(vision, sizes.precision);
  return PROCESS + sumOf(keptBytes(sizes.architecture)) + batch * row;
}

/** What less would fit into `free` bytes by that estimate: a clause. */
function whatFits(sizes: StepSizes, batch: number, free: number): string {
  const { architecture } = sizes;
  const recomputing = (rows: number) => estimatedTrainingBytes(sizes, rows, 0);
  const [fixed, ofRow] = [recomputing(0), recomputing(1) - recomputing(0)];
  let largest = Math.min(batch - 1, Math.floor((free - fixed) / ofRow));
  while (largest >= 1 && estimatedTrainingBytes(sizes, largest, free) > free) largest--; // where blocks are kept
  if (largest >= 1) return `The largest batch_size_train that fits is about ${largest}`;
  for (let imageSize = architecture.vision.imageSize - PATCH_SIZE; imageSize > 0; imageSize -= PATCH_SIZE) {
    const smaller = { ...sizes, architecture: { ...architecture, vision: { ...architecture.vision, imageSize } } };
    if (estimatedTrainingBytes(smaller, 1, free) <= free)
      return `Not even a batch of 1 fits; with batch_size_train 1 the largest image_size that fits is about ${imageSize}`;
  }
  return 'No batch_size_train and no image_size fits. Take a smaller vit or queue_size';
}

/** `needed` bytes or more, where only `free` is available: what to change is estimated. */
function tooLarge(sizes: StepSizes, batch: number, needed: string, free: number): UserError {
  const kept = formatBytes(sumOf(keptBytes(sizes.architecture)));
  return new UserError(
    `Training with batch_size_train ${batch} at image_size ${sizes.architecture.vision.imageSize} needs ${needed} of memory ` +
      `(${kept} whatever the batch), and ${formatBytes(free)} is available. ${whatFits(sizes, batch, free)}, or use a machine with more memory.`,
  );
}

/**
 * @param free bytes that are available before the model is made
 * @param swap bytes that the system could move away beside them
 * @returns a line that says what is needed, by an estimate
 * @throws UserError where training certainly needs more: what must be kept exceeds all of it
 */
export function demandTrainingMemory(sizes: StepSizes, batch: number, free: number, swap = 0): string {
  const least = sumOf(keptBytes(sizes.architecture)) + batch * leastBytesOfRow(sizes, sizes.checkpointedBlocks);
  if (least > free + swap) throw tooLarge(sizes, batch, `more than ${formatBytes(least)}`, free);
  const about = formatBytes(estimatedTrainingBytes(sizes, batch, free));
  return `Memory: about ${about} for batches of ${batch}; ${formatBytes(free)} is available (\`dryRun\` measures it, and the time).`;
}

/** @throws UserError where even steps of `tried` rows, which are to tell what `batch` rows need, are likely not to fit */
export function demandTrialMemory(sizes: StepSizes, tried: number, batch: number, free: number): void {
  if (estimatedTrainingBytes(sizes, tried, free) <= free) return;
  throw tooLarge(sizes, batch, `about ${formatBytes(estimatedTrainingBytes(sizes, batch, free))}`, free);
}

/** The error of a batch whose steps, measured at smaller ones, need `peak` bytes; batches up to `most` fit. */
export function trainingTooLarge({
  batch,
  peak,
  most,
  free,
}: Record<'batch' | 'peak' | 'most' | 'free', number>): UserError {
  const remedy =
    most >= 1
      ? `The largest batch_size_train that fits is ${most}`
      : 'Not even a batch of 1 fits: lower image_size or queue_size, or take a smaller vit';
  return new UserError(
    `Training with batch_size_train ${batch} needs about ${formatBytes(peak)} of memory, as measured with smaller batches, ` +
      `and ${formatBytes(free)} is available. ${remedy}, or use a machine with more memory.`,
  );
}
