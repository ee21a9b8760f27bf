// Whether the output folder has room for the checkpoints that a run will write.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { spaceDefect } from '../disk/space.js';
import type { TrainingModel } from '../model/training-model.js';
import { DTYPES } from '../torch/dtype.js';

/** Files of this size that lie there at a time: both checkpoints, and the one that is being written. */
export const COPIES = 3;

/** Bytes of a checkpoint of `model`: its state, and two averages of each parameter. */
export function checkpointBytes(model: TrainingModel): number {
  const state = [...model.state.values()].reduce((sum, { numel, dtype }) => sum + numel * DTYPES[dtype].bytes, 0);
  return state + [...model.parameters.values()].reduce((sum, { numel }) => sum + 2 * 4 * numel, 0);
}

/** A line for the user when checkpoints of `bytes` will not all fit into `outputDir`; else undefined. */
export function roomWarning(outputDir: string, bytes: number): string | undefined {
  const there = ['checkpoint_last.pth', 'checkpoint_best.pth'].filter((name) => existsSync(join(outputDir, name)));
  const defect = spaceDefect(outputDir, bytes * (COPIES - there.length), "this run's checkpoints");
  return defect === undefined ? undefined : `${defect} Free some space, or the disk will be full during the run.`;
}
