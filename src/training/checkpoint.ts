// checkpoint_best.pth and checkpoint_last.pth: written as the reference writes them, and read back to go on exactly.
import { UserError } from '../errors.js';
import type { RetrievalMetrics } from '../evaluation/recall.js';
import type { TrainingModel } from '../model/training-model.js';
import type { AdamW } from '../torch/adamw.js';
import {
  byteOffset,
  float,
  isTensorRef,
  openCheckpoint,
  type PickleValue,
  stateDictOf,
  tuple,
  verifyStorages,
  type WritableTensor,
  type WritableValue,
  writeCheckpoint,
} from '../torch/checkpoint/index.js';
import { Generator } from '../torch/generator.js';
import { mapFile } from '../torch/mapped-file.js';
import * as ops from '../torch/ops.js';
import { type Device, keep, noGrad, scope, type Tensor } from '../torch/tensor.js';
import { METERS, type MeterStates, type Progress, type RunIdentity } from './run-state.js';

/** Random state of one rank: of the CPU's generator, and of its GPU's where it trains on one. */
export interface RandomState {
  cpu: Uint8Array;
  cuda?: Uint8Array;
}

/** The random state of this process. */
export function captureRandom(device: Device): RandomState {
  const stateOf = (name: Device) => scope(() => Generator.default(name).state.bytes());
  return device === 'cpu' ? { cpu: stateOf('cpu') } : { cpu: stateOf('cpu'), cuda: stateOf(device) };
}

export function restoreRandom(state: RandomState, device: Device): void {
  const put = (name: Device, bytes: Uint8Array) =>
    scope(() => {
      Generator.default(name).state = ops.fromBytes(bytes, 'uint8', [bytes.length]);
    });
  put('cpu', state.cpu);
  if (device !== 'cpu' && state.cuda !== undefined) put(device, state.cuda);
}

// ---- writing

const bytesTensor = (data: Uint8Array): WritableTensor => ({ dtype: 'uint8', shape: [data.length], data });
const writable = (tensor: Tensor): WritableTensor => ({
  dtype: tensor.dtype,
  shape: tensor.shape,
  data: () => tensor.bytes(),
});

/** Parameters of a state dict, as torch.nn.Module.parameters() numbers them: everything but buffers. */
const isBuffer = (name: string) => /_queue$|position_ids$/.test(name);

/** Python's optimizer.state_dict(): states by parameter number, and one group with its settings. */
function optimizerState(model: TrainingModel, optimizer: AdamW, lr: number): WritableValue {
  const { betas, eps, weightDecay } = optimizer.options;
  const count = [...model.state.keys()].filter((name) => !isBuffer(name)).length;
  const state = new Map(
    [...optimizer.state].map(([index, { step, expAvg, expAvgSq }]): [number, WritableValue] => [
      index,
      { step: writable(step), exp_avg: writable(expAvg), exp_avg_sq: writable(expAvgSq) },
    ]),
  );
  const group = {
    lr: float(lr),
    betas: tuple(betas.map(float)),
    eps: float(eps),
    weight_decay: float(weightDecay),
    amsgrad: false,
    maximize: false,
    foreach: null,
    capturable: false,
    differentiable: false,
    fused: null,
    decoupled_weight_decay: true,
    params: Array.from({ length: count }, (_, index) => index),
  };
  return { state, param_groups: [group] };
}

/** A config's values as they are pickled: numbers with a fraction are floats, whole ones ints, as YAML gave them. */
function plain(value: unknown): WritableValue {
  if (value === null || ['string', 'number', 'boolean', 'bigint'].includes(typeof value)) return value as WritableValue;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return String(value);
}

export interface TrainingCheckpoint {
  model: TrainingModel;
  optimizer: AdamW;
  /** The config as the file gives it. */
  config: Readonly<Record<string, unknown>>;
  epoch: number;
  lr: number;
}

const content = ({ model, optimizer, config, epoch, lr }: TrainingCheckpoint) => ({
  model: new Map([...model.state].map(([name, tensor]) => [name, writable(tensor)])),
  optimizer: optimizerState(model, optimizer, lr),
  config: plain(config),
  epoch,
});

/** checkpoint_best.pth: {model, optimizer, config, epoch}, the reference's names and order. Whole or not there at all. */
export function writeBestCheckpoint(path: string, checkpoint: TrainingCheckpoint): Promise<void> {
  return writeCheckpoint(path, content(checkpoint));
}

/** What each rank has for itself: its random state, and the losses it has seen in the epoch at hand. */
export interface RankState {
  random: RandomState;
  meters: MeterStates;
}

/** checkpoint_last.pth: the same, and `resume` with what an exact resume needs; `ranks` is of each rank, in order. */
export function writeLastCheckpoint(
  path: string,
  checkpoint: TrainingCheckpoint,
  progress: Progress,
  identity: RunIdentity,
  ranks: readonly RankState[],
): Promise<void> {
  const { bestTest } = progress;
  const numbers = (values: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, float(value)]));
  const resume = {
    version: 1,
    step: progress.step,
    best: float(progress.best),
    best_epoch: progress.bestEpoch,
    best_test: bestTest === undefined ? null : numbers({ ...bestTest }),
    world_size: identity.worldSize,
    batch_size: identity.batchSize,
    rows: identity.rows,
    seed: identity.seed,
    ranks: ranks.map(({ random: { cpu, cuda }, meters }) => ({
      cpu: bytesTensor(cpu),
      ...(cuda && { cuda: bytesTensor(cuda) }),
      meters: Object.fromEntries(
        METERS.map((name) => [name, { total: float(meters[name].total), count: meters[name].count }]),
      ),
    })),
  };
  return writeCheckpoint(path, { ...content(checkpoint), resume });
}

// ---- reading

/** A path through nested dicts and lists of a checkpoint; undefined where it leads nowhere. */
function at(value: PickleValue | undefined, ...path: (string | number)[]): PickleValue | undefined {
  let here = value;
  for (const key of path) {
    if (here instanceof Map) here = here.get(key);
    else if (Array.isArray(here) && typeof key === 'number') here = here[key];
    else return undefined;
  }
  return here;
}

/** What a checkpoint gives beside weights: the optimizer's state was put in place already. */
export interface Resumed {
  /** Undefined for a checkpoint_best.pth: it stands at the end of its epoch, without random states. */
  resume: { progress: Progress; random: RandomState } | undefined;
  epoch: number;
  /** The run's config as it was saved; nothing where it is no dict. */
  config: ReadonlyMap<unknown, PickleValue>;
}

/**
 * Puts the optimizer and, of a checkpoint_last.pth, the position back. `model` must have been built from the same file.
 * `rank` is this process's. Throws a UserError when the file holds no optimizer, or belongs to another run than `identity` says.
 */
export async function resumeFrom(
  path: string,
  model: TrainingModel,
  optimizer: AdamW,
  identity: RunIdentity,
  rank: number,
): Promise<Resumed> {
  const checkpoint = openCheckpoint(path);
  const fail = (what: string): never => {
    throw new UserError(`${path} cannot be resumed: ${what}`);
  };
  const number = (...where: (string | number)[]): number => {
    const value = at(checkpoint.root, ...where);
    return typeof value === 'number' ? value : fail(`it has no number ${where.join('/')}`);
  };
  await verifyStorages(checkpoint);
  stateDictOf(checkpoint);
  if (!(at(checkpoint.root, 'optimizer', 'state') instanceof Map))
    fail('it holds no optimizer state; use it as pretrained');

  const file = mapFile(path);
  const tensor = (shape: readonly number[] | undefined, ...where: (string | number)[]): Tensor => {
    const ref = at(checkpoint.root, ...where);
    if (!isTensorRef(ref)) return fail(`it has no tensor ${where.join('/')}`);
    if (shape !== undefined && ref.shape.join() !== shape.join())
      fail(`${where.join('/')} is [${ref.shape}] instead of [${shape}]: it is of another model`);
    return file.tensor(byteOffset(ref), ref.dtype, ref.shape, ref.stride);
  };
  noGrad(() =>
    scope(() => {
      [...model.parameters].forEach(([, parameter], index) => {
        if (at(checkpoint.root, 'optimizer', 'state', index) === undefined) return;
        const put = (name: string, shape: readonly number[]) =>
          keep(
            ops.clone(
              ops.to(tensor(shape, 'optimizer', 'state', index, name), { device: model.device, dtype: 'float32' }),
            ),
          );
        optimizer.state.set(index, {
          step: put('step', []),
          expAvg: put('exp_avg', parameter.shape),
          expAvgSq: put('exp_avg_sq', parameter.shape),
        });
      });
    }),
  );
  const epoch = number('epoch');
  const saved = at(checkpoint.root, 'config');
  const config = saved instanceof Map ? saved : new Map<unknown, PickleValue>();
  if (at(checkpoint.root, 'resume') === undefined) {
    file.close();
    return { resume: undefined, epoch, config };
  }

  const same: [name: string, here: number][] = [
    ['world_size', identity.worldSize],
    ['batch_size', identity.batchSize],
    ['rows', identity.rows],
    ['seed', identity.seed],
  ];
  for (const [name, here] of same) {
    const there = number('resume', name);
    if (there !== here)
      fail(`its run had ${name} ${there}, this one has ${here}; resume with the same, or use it as pretrained`);
  }
  const own = ['resume', 'ranks', rank] as const;
  const meters = Object.fromEntries(
    METERS.map((name) => [
      name,
      { total: number(...own, 'meters', name, 'total'), count: number(...own, 'meters', name, 'count') },
    ]),
  ) as MeterStates;
  const test = at(checkpoint.root, 'resume', 'best_test');
  const bestTest = test instanceof Map ? (Object.fromEntries(test) as unknown) : undefined;
  const bytes = (name: string) => scope(() => tensor(undefined, ...own, name).bytes());
  const onGpu = at(checkpoint.root, ...own, 'cuda') !== undefined;
  const random: RandomState = { cpu: bytes('cpu'), ...(onGpu && { cuda: bytes('cuda') }) };
  file.close();
  const progress: Progress = {
    epoch,
    step: number('resume', 'step'),
    meters,
    best: number('resume', 'best'),
    bestEpoch: number('resume', 'best_epoch'),
    bestTest: isMetrics(bestTest) ? bestTest : undefined,
  };
  return { resume: { progress, random }, epoch, config };
}

function isMetrics(value: unknown): value is RetrievalMetrics {
  return typeof value === 'object' && value !== null && 'r_mean' in value && typeof value.r_mean === 'number';
}
