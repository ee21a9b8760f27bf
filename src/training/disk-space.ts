// Whether the output folder has room for the checkpoints that a run will write.
import { existsSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { TrainingModel } from '../model/training-model.js';
import { DTYPES } from '../torch/dtype.js';

/** Files of this size that lie there at a time: both checkpoints, and the one that is being written. */
const COPIES = 3;

/** Bytes of a checkpoint of `model`: its state, and two averages of each parameter. */
export function checkpointBytes(model: TrainingModel): number {
  const state = [...model.state.values()].reduce((sum, { numel, dtype }) => sum + numel * DTYPES[dtype].bytes, 0);
  return state + [...model.parameters.values()].reduce((sum, { numel }) => sum + 2 * 4 * numel, 0);
}

/** A line for the user when checkpoints of `bytes` will not all find room in `outputDir`; else undefined. */
export function roomWarning(outputDir: string, bytes: number): string | undefined {
  const there = ['checkpoint_last.pth', 'checkpoint_best.pth'].filter((name) => existsSync(join(outputDir, name)));
  const needed = bytes * (COPIES - there.length);
  let free: number;
  try {
    const { bavail, bsize, blocks } = statfsSync(outputDir);
    free = blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize; // some network file systems do not tell
  } catch {
    return undefined;
  }
  if (free >= needed) return undefined;
  const gigabytes = (size: number) => `${(size / 1e9).toFixed(2)} GB`;
  return `The disk will be full: the checkpoints of this run need ${gigabytes(needed)} in ${outputDir}, where ${gigabytes(free)} are free`;
}
