// Resuming a run from its checkpoint: whether it can be, what differs from the run that wrote it, and its state.
import { dirname } from 'node:path';
import { UserError } from '../errors.js';
import type { RetrievalMetrics } from '../evaluation/recall.js';
import { counted } from '../logging/text.js';
import type { LoadReport } from '../model/pretrained.js';
import { isTensorRef, type PickleValue, type TensorFile } from '../torch/checkpoint/index.js';
import * as ops from '../torch/ops.js';
import { keep, noGrad, scope, type Tensor } from '../torch/tensor.js';
import { type RandomState, restoreRandom } from './checkpoint.js';
import type { Run } from './run.js';
import { loggedBest } from './run-logs.js';
import { initialState, METERS, type MeterStates, type RunIdentity, type RunState } from './run-state.js';
import type { Trainer } from './train.js';

type Path = readonly (string | number)[];

/** A checkpoint's values by their path through dicts and lists; what is missing is said by its path. */
class CheckpointFields {
  constructor(readonly file: TensorFile) {}

  get path(): string {
    return this.file.checkpoint.path;
  }

  fail(what: string): never {
    throw new UserError(`${this.path} cannot be resumed: ${what}`);
  }

  /** Undefined where the path leads nowhere. */
  value(...path: Path): PickleValue | undefined {
    let here: PickleValue | undefined = this.file.checkpoint.root;
    for (const key of path) {
      if (here instanceof Map) here = here.get(key);
      else if (Array.isArray(here) && typeof key === 'number') here = here[key];
      else return undefined;
    }
    return here;
  }

  number(...path: Path): number {
    const value = this.value(...path);
    return typeof value === 'number' ? value : this.fail(`it has no number ${path.join('/')}.`);
  }

  /** The tensor over the mapped file, which must have the shape `shape` unless that is undefined. */
  tensor(shape: readonly number[] | undefined, ...path: Path): Tensor {
    const ref = this.value(...path);
    if (!isTensorRef(ref)) return this.fail(`it has no tensor ${path.join('/')}.`);
    if (shape !== undefined && ref.shape.join() !== shape.join())
      this.fail(`${path.join('/')} is [${ref.shape}] instead of [${shape}]: it belongs to another model.`);
    return this.file.tensor(ref);
  }
}

/** Weights or queues that the checkpoint lacks would start from scratch in the middle of a run. */
function requireComplete(fields: CheckpointFields, { missing, mismatched, interpolated }: LoadReport): void {
  const [name] = missing.length > 0 ? missing : interpolated.map((position) => position.name);
  if (name === undefined) return;
  const other = mismatched.find((entry) => entry.name === name);
  const how =
    other === undefined ? 'does not fit this model' : `is [${other.found}] in it and [${other.expected}] here`;
  fields.fail(
    `${name} ${how}. Resume with the vit, image_size, queue_size and med_config of its run, or use it as pretrained.`,
  );
}

/** Sets the optimizer's averages to the checkpoint's. */
function restoreOptimizer(fields: CheckpointFields, { model, optimizer }: Pick<Trainer, 'model' | 'optimizer'>): void {
  if (!(fields.value('optimizer', 'state') instanceof Map))
    fields.fail('it holds no optimizer state. Use it as pretrained.');
  noGrad(() =>
    scope(() => {
      for (const [index, parameter] of [...model.parameters.values()].entries()) {
        const path = ['optimizer', 'state', index];
        if (fields.value(...path) === undefined) continue;
        const copy = (shape: readonly number[], name: string) =>
          keep(
            // A scope each, so that the file's pages go back before the next are read.
            scope(() =>
              ops.clone(ops.to(fields.tensor(shape, ...path, name), { device: model.device, dtype: 'float32' })),
            ),
          );
        optimizer.state.set(index, {
          step: copy([], 'step'),
          expAvg: copy(parameter.shape, 'exp_avg'),
          expAvgSq: copy(parameter.shape, 'exp_avg_sq'),
        });
      }
    }),
  );
}

function requireSameRun(fields: CheckpointFields, identity: RunIdentity): void {
  const { worldSize, batchSize, rows, seed } = identity;
  const checks: [name: string, here: number, remedy: (saved: number) => string][] = [
    ['world_size', worldSize, (saved) => counted(saved, 'process')],
    ['batch_size', batchSize, (saved) => `batch_size_train ${saved}`],
    ['rows', rows, (saved) => `the annotations that have ${counted(saved, 'row')}`],
    ['seed', seed, (saved) => `\`seed\` ${saved}`],
  ];
  for (const [name, here, remedy] of checks) {
    const saved = fields.number('resume', name);
    if (saved !== here)
      fields.fail(
        `its run had ${name} ${saved}, and this one has ${here}. Resume with ${remedy(saved)}, or use it as pretrained.`,
      );
  }
}

/** The state of the run that wrote a checkpoint_last.pth, and the random state of its rank `rank`. */
function readState(fields: CheckpointFields, rank: number): { state: RunState; random: RandomState } {
  const own = ['resume', 'ranks', rank] as const;
  const meters = Object.fromEntries(
    METERS.map((name) => [
      name,
      { total: fields.number(...own, 'meters', name, 'total'), count: fields.number(...own, 'meters', name, 'count') },
    ]),
  ) as MeterStates;
  const test = fields.value('resume', 'best_test');
  const bestTest = test instanceof Map ? (Object.fromEntries(test) as unknown) : undefined;
  const bytes = (name: string) => scope(() => fields.tensor(undefined, ...own, name).bytes());
  const onGpu = fields.value(...own, 'cuda') !== undefined;
  return {
    state: {
      epoch: fields.number('epoch'),
      step: fields.number('resume', 'step'),
      meters,
      best: fields.number('resume', 'best'),
      bestEpoch: fields.number('resume', 'best_epoch'),
      bestTest: isMetrics(bestTest) ? bestTest : undefined,
    },
    random: { cpu: bytes('cpu'), ...(onGpu && { cuda: bytes('cuda') }) },
  };
}

function isMetrics(value: unknown): value is RetrievalMetrics {
  return typeof value === 'object' && value !== null && 'r_mean' in value && typeof value.r_mean === 'number';
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

/** `alpha 0.4, now 0.2` of each setting that differs from when the checkpoint was written. */
export function changedSettings(then: ReadonlyMap<unknown, unknown>, now: Readonly<Record<string, unknown>>): string[] {
  const keys = new Set([...then.keys(), ...Object.keys(now)].map(String));
  return [...keys]
    .filter((key) => !WITHOUT_EFFECT.has(key) && shown(then.get(key)) !== shown(now[key]))
    .map((key) => `${key} ${shown(then.get(key))}, now ${shown(now[key])}`);
}

/**
 * Sets optimizer and random state to those of a checkpoint, and says where the run continues. The model must have been
 * built from the same file, which `report` compares with it. @throws UserError when it cannot be resumed
 */
export function resumeRun(
  run: Run,
  trainer: Pick<Trainer, 'model' | 'optimizer'>,
  file: TensorFile,
  report: LoadReport,
  identity: RunIdentity,
): RunState {
  const { config, print, ranks } = run;
  const fields = new CheckpointFields(file);
  requireComplete(fields, report);
  restoreOptimizer(fields, trainer);
  const saved = fields.value('config');
  const changed = changedSettings(saved instanceof Map ? saved : new Map(), config.raw);
  const sayChanged = () => {
    if (changed.length > 0) print(`Settings that changed since the checkpoint was written: ${changed.join('; ')}.`);
  };
  if (fields.value('resume') !== undefined) {
    requireSameRun(fields, identity);
    const { state, random } = readState(fields, ranks.rank);
    restoreRandom(random, trainer.model.device);
    print(`Resuming ${fields.path} in epoch ${state.epoch} after step ${state.step}.`);
    sayChanged();
    return state;
  }

  // A checkpoint_best.pth, ours or the reference's: its recalls are in the log beside it, and stay the ones to beat.
  const epoch = fields.number('epoch');
  print(`Resuming ${fields.path} with epoch ${epoch + 1}. It holds no random state, so the continuation is not exact.`);
  sayChanged();
  const known = loggedBest(dirname(fields.path), epoch);
  if (known === undefined)
    print(
      "The log.txt beside it does not have its recalls: the next epoch's count as the best, and replace checkpoint_best.pth.",
    );
  return { ...initialState(), epoch: epoch + 1, bestEpoch: epoch, ...known };
}
