// Taking a run up from its checkpoint: whether it can be, what differs from the run that wrote it, and where it stands.
import { dirname } from 'node:path';
import { UserError } from '../errors.js';
import type { LoadReport } from '../model/pretrained.js';
import type { TrainingModel } from '../model/training-model.js';
import type { AdamW } from '../torch/adamw.js';
import { restoreRandom, resumeFrom } from './checkpoint.js';
import { loggedBest } from './run-logs.js';
import { type Progress, type RunIdentity, startOfRun } from './run-state.js';

export interface ResumedRun {
  /** Built from the checkpoint, which `report` compares with it. */
  model: TrainingModel;
  report: LoadReport;
  optimizer: AdamW;
  identity: RunIdentity;
  rank: number;
  /** The config as its file gives it. */
  rawConfig: Readonly<Record<string, unknown>>;
  print(line: string): void;
}

/** Weights or queues that the checkpoint lacks would begin anew in the middle of a run. */
function requireWhole({ path, missing, mismatched, interpolated }: LoadReport): void {
  const [name] = missing.length > 0 ? missing : interpolated.map((position) => position.name);
  if (name === undefined) return;
  const other = mismatched.find((entry) => entry.name === name);
  const how =
    other === undefined ? 'is not in it as it is here' : `is [${other.found}] in it and [${other.expected}] here`;
  throw new UserError(
    `${path} cannot be resumed: ${name} ${how}; resume with the vit, image_size, queue_size and med_config of its run, or use it as pretrained`,
  );
}

/** Keys of a config that change neither training nor the recalls. */
const WITHOUT_EFFECT = new Set(['pretrained', 'sha256', 'image_root', 'ann_root', 'batch_size_test', 'feature_memory']);

function shown(value: unknown): string {
  if (value === undefined) return 'not given';
  if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  const entries: [unknown, unknown][] = value instanceof Map ? [...value] : Object.entries(value);
  return `{${entries.map(([key, inner]) => `${String(key)}: ${shown(inner)}`).join(', ')}}`;
}

/** `alpha 0.4, now 0.2` of each setting that is another one than when the checkpoint was written. */
export function changedSettings(then: ReadonlyMap<unknown, unknown>, now: Readonly<Record<string, unknown>>): string[] {
  const keys = new Set([...then.keys(), ...Object.keys(now)].map(String));
  return [...keys]
    .filter((key) => !WITHOUT_EFFECT.has(key) && shown(then.get(key)) !== shown(now[key]))
    .map((key) => `${key} ${shown(then.get(key))}, now ${shown(now[key])}`);
}

/**
 * Puts optimizer and random state where the checkpoint at `path` has them, and says from where the run goes on.
 * @throws UserError when it cannot be resumed
 */
export async function takeUp(path: string, run: ResumedRun): Promise<Progress> {
  const { model, report, optimizer, identity, rank, rawConfig, print } = run;
  requireWhole(report);
  const { resume, epoch, config } = await resumeFrom(path, model, optimizer, identity, rank);
  const changed = changedSettings(config, rawConfig);
  if (resume !== undefined) {
    restoreRandom(resume.random, model.device);
    print(`Resuming ${path} in epoch ${resume.progress.epoch} after step ${resume.progress.step}`);
    if (changed.length > 0) print(`Going on with other settings than until here: ${changed.join('; ')}`);
    return resume.progress;
  }

  // A checkpoint_best.pth, ours or the reference's: its recalls are in the log beside it, and stay the ones to beat.
  print(`Resuming ${path} with epoch ${epoch + 1}; it holds no random state, so this is no exact continuation`);
  if (changed.length > 0) print(`Going on with other settings than until here: ${changed.join('; ')}`);
  const known = loggedBest(dirname(path), epoch);
  if (known === undefined)
    print(
      `No log.txt beside it tells its recalls: the next epoch's count as the best, and replace checkpoint_best.pth`,
    );
  return { ...startOfRun(), epoch: epoch + 1, bestEpoch: epoch, ...known };
}
