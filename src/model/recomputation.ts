// Whether the last blocks of the vision encoder compute their activations twice in a step, or keep them.
import type { Precision } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';
import type { Architecture } from './architecture.js';
import { activationBytes } from './vision-transformer.js';

/** A CPU with this many times the memory that recomputing would save has no need to save it. */
const AMPLE = 16;

/** What decides it: a step of `images` on each of the `ranks` that may share a memory, whose last blocks may recompute. */
export interface StepSetting {
  architecture: Pick<Architecture, 'vision'>;
  precision: Precision;
  device: Device;
  checkpointedBlocks: number;
  ranks: number;
  images: number;
}

/** Whether a CPU with `free` bytes as a step begins has them to spare. On a GPU blocks always recompute. */
export function sparesRecomputation(setting: StepSetting, free: number): boolean {
  const { architecture, precision, device, checkpointedBlocks, ranks, images } = setting;
  const { vision } = architecture;
  const saved = Math.min(checkpointedBlocks, vision.depth) * images * activationBytes(vision, precision);
  // All ranks may be on this machine, and a first step has the optimizer's averages still to come.
  return device === 'cpu' && free >= AMPLE * saved * ranks;
}
