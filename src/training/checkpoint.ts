// checkpoint_best.pth and checkpoint_last.pth, written as the reference writes its own. resume.ts reads them.
import type { Ranks } from '../distributed/ranks.js';
import { at } from '../errors.js';
import { isBuffer } from '../model/state-dict.js';
import type { TrainingModel } from '../model/training-model.js';
import type { AdamW } from '../torch/adamw.js';
import { float, tuple, type WritableTensor, type WritableValue, writeCheckpoint } from '../torch/checkpoint/index.js';
import { Generator } from '../torch/generator.js';
import * as ops from '../torch/ops.js';
import { type Device, scope, type Tensor } from '../torch/tensor.js';
import { METERS, type MeterStates, type RunIdentity, type RunState } from './run-state.js';

/** Random state of one rank: of the CPU's generator, and of its GPU's where it trains on one. */
export interface RandomState {
  cpu: Uint8Array;
  cuda?: Uint8Array;
}

/** What each rank has for itself: its random state, and the losses it has seen in the current epoch. */
export interface RankState {
  random: RandomState;
  meters: MeterStates;
}

/** The states of all ranks, in order; every rank must call it. */
export function gatherRankStates(ranks: Ranks, device: Device, meters: MeterStates): RankState[] {
  const stateOf = (name: Device) => scope(() => Generator.default(name).state.bytes());
  const cpu = ranks.gatherBytes(stateOf('cpu'));
  const cuda = device === 'cpu' ? undefined : ranks.gatherBytes(stateOf(device));
  return ranks.gatherValues(meters).map((of, rank) => ({
    random: { cpu: at(cpu, rank), ...(cuda && { cuda: at(cuda, rank) }) },
    meters: of,
  }));
}

/** Sets this process's generators to `state`. */
export function restoreRandom(state: RandomState, device: Device): void {
  const set = (name: Device, bytes: Uint8Array) =>
    scope(() => {
      Generator.default(name).state = ops.fromBytes(bytes, 'uint8', [bytes.length]);
    });
  set('cpu', state.cpu);
  if (device !== 'cpu' && state.cuda !== undefined) set(device, state.cuda);
}

const bytesTensor = (data: Uint8Array): WritableTensor => ({ dtype: 'uint8', shape: [data.length], data });
const writable = (tensor: Tensor): WritableTensor => ({
  dtype: tensor.dtype,
  shape: tensor.shape,
  data: () => tensor.bytes(),
});

/** Python's optimizer.state_dict(): states by parameter number, and one group with its settings. */
function optimizerState(model: TrainingModel, optimizer: AdamW, lr: number): WritableValue {
  const { betas, eps, weightDecay } = optimizer.options;
  // Numbered as torch.nn.Module.parameters() gives them: momentum copies too, which have no state.
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

/** A config's values as they are pickled: numbers with a fraction are floats, integers ints, as YAML gave them. */
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

/** checkpoint_best.pth: {model, optimizer, config, epoch}, the reference's names and order. Written atomically. */
export function writeBestCheckpoint(path: string, checkpoint: TrainingCheckpoint): Promise<void> {
  return writeCheckpoint(path, content(checkpoint));
}

/** checkpoint_last.pth: the same, and `resume` with what an exact resume needs; `ranks` is of each rank, in order. */
export function writeLastCheckpoint(
  path: string,
  checkpoint: TrainingCheckpoint,
  state: RunState,
  identity: RunIdentity,
  ranks: readonly RankState[],
): Promise<void> {
  const { bestTest } = state;
  const numbers = (values: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, float(value)]));
  const resume = {
    version: 1,
    step: state.step,
    best: float(state.best),
    best_epoch: state.bestEpoch,
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
