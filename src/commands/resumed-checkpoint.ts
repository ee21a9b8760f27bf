// Where a training run gets its weights from.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { restartedSince } from '../distributed/rank.js';
import type { RunOptions } from '../training/options.js';

/** The output folder's checkpoint_last.pth, which may not be there. */
export const latestOf = ({ outputDir }: Pick<RunOptions, 'outputDir'>) => join(outputDir, 'checkpoint_last.pth');

/**
 * The checkpoint that training continues. Four ways to start:
 *
 * 1. The launcher restarts a run that failed: from the checkpoint_last.pth that this very run has saved since.
 * 2. `resume` names a file: from it.
 * 3. `resume` is 'latest': from the output folder's checkpoint_last.pth, where there is one.
 * 4. Otherwise from the config's `pretrained`, or from random weights where that is empty: undefined.
 */
export function checkpointToResume(options: RunOptions): string | undefined {
  const latest = latestOf(options);
  const { resume } = options.training;
  const launched = restartedSince(process.env);
  const saved = statSync(latest, { throwIfNoEntry: false })?.mtimeMs;
  if (saved !== undefined && launched !== undefined && saved >= launched) return latest; // 1
  if (resume !== 'latest') return resume; // 2, 4
  return saved === undefined ? undefined : latest; // 3
}

/** A line where no checkpoint is continued although one is asked for, or is there; undefined where neither is. */
export function describeStart(options: RunOptions): string | undefined {
  const latest = latestOf(options);
  if (options.training.resume === 'latest') return `${latest} does not exist yet: starting from the beginning.`;
  if (!existsSync(latest)) return undefined;
  return `Starting from scratch and overwriting ${latest} of an earlier run (use --resume latest to continue it).`;
}
