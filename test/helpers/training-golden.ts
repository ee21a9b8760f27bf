// Repeats the reference's recorded training steps, in one process or as one of two ranks, and compares losses, gradients,
// momentum, queues and the final state.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { decodeRgb } from '#blip/data/images/decode.js';
import { evaluationTransform } from '#blip/data/images/evaluation-transform.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { DataParallel, noSync } from '#blip/distributed/data-parallel.js';
import type { ProcessGroup } from '#blip/distributed/process-group.js';
import { architectureOf } from '#blip/model/architecture.js';
import { normalizeImages } from '#blip/model/normalize-images.js';
import { type StepLosses, TrainingModel } from '#blip/model/training-model.js';
import { AdamW } from '#blip/torch/adamw.js';
import * as ops from '#blip/torch/ops.js';
import type { Precision } from '#blip/torch/precision.js';
import { readSafetensors, type SafeTensor } from '#blip/torch/safetensors.js';
import { type Device, liveHandles, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';
import { assertClose, readJson } from './tensors.js';

const SIZE = 96;
const WEIGHT_DECAY = 0.05;

/** The tiny model without dropout, as in the recorded runs. */
export const trainingArchitecture = architectureOf({
  vit: 'tiny',
  imageSize: SIZE,
  queueSize: 64,
  medConfig: { hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 },
});

/** One step of one rank, with the reference's results. */
export interface RecordedStep {
  alpha: number;
  lr: number;
  idx: number[];
  captions: string[];
  /** Paths below the folder of the images. */
  images: string[];
  /** Of each text an image, then of each image a text. */
  negatives: { choice: number }[];
  loss_ita: number;
  loss_itm: number;
  /** Of the gradients that the optimizer gets: on several ranks, after their exchange. */
  grad_norms: Record<string, number>;
  /** The temperature after the step. */
  temp?: number;
}

export interface RecordedRun {
  steps: readonly RecordedStep[];
  /** Folder of the images. */
  images: string;
  /** Gradients of some steps, `step3/grad/NAME`, and the final state, `final/NAME`. */
  tensors: ReadonlyMap<string, SafeTensor>;
  final_norms?: Record<string, number>;
}

/** Largest differences: of losses, of the norms of gradients (relative), of single values. The CPU's are the defaults. */
export interface TrainingTolerance {
  loss: number;
  norm: number;
  value: number;
}

export interface TrainingCheck {
  checkpointedBlocks?: number;
  device?: Device;
  /** In bf16, which rounds gradients to three digits, only the losses are compared: they must stay on the curve. */
  precision?: Precision;
  tolerance?: TrainingTolerance;
  /** Trains as one of these ranks, with negatives from all of them. */
  group?: ProcessGroup;
}

/** Repeats the steps of these files, as `repeatTraining` does. */
export async function checkTraining(
  state: ReadonlyMap<string, Tensor>,
  files: { json: string; tensors: string; images: string },
  options: TrainingCheck = {},
): Promise<void> {
  const recorded = readJson<Pick<RecordedRun, 'steps' | 'final_norms'>>(files.json);
  await repeatTraining(state, { ...recorded, images: files.images, tensors: readSafetensors(files.tensors) }, options);
}

/** Repeats the recorded steps from `state`, which is disposed, with the recorded negatives; fails at a difference. */
export async function repeatTraining(
  state: ReadonlyMap<string, Tensor>,
  run: RecordedRun,
  options: TrainingCheck = {},
): Promise<void> {
  const { checkpointedBlocks = 0, device = 'cpu', precision = 'fp32', group } = options;
  const { tolerance = { loss: 1e-5, norm: 1e-3, value: 2e-5 } } = options;
  const lossesOnly = precision === 'bf16';
  const tokenizer = Tokenizer.load();
  let negatives: number[] = [];
  const model = new TrainingModel(state, trainingArchitecture, {
    device,
    precision,
    negativeAllRank: group !== undefined,
    checkpointedBlocks,
    freeMemory: () => 0, // so that blocks do recompute
    encToken: tokenizer.encTokenId,
    chooseNegatives: () => ({ imageOfText: negatives.slice(0, 4), textOfImage: negatives.slice(4) }),
    ...(group && { ranks: group }),
  });
  // Tensors that one test leaves to the garbage collector would disappear during the next one's count of handles.
  for (const tensor of state.values()) tensor.dispose();
  const optimizer = new AdamW([...model.parameters.values()], { weightDecay: WEIGHT_DECAY });
  const sync = group ? dataParallel(model, group) : noSync;
  const handles: number[] = [];
  for (const [number, step] of run.steps.entries()) {
    negatives = step.negatives.map(({ choice }) => choice);
    const images = await loadImages(run.images, step.images, device);
    const texts = step.captions.map((caption) => tokenizer.encode(caption).ids);
    scope(() => {
      sync.beforeForward();
      const losses = model.forward({ images, texts, idx: step.idx }, step.alpha);
      checkLosses(number, losses, step, tolerance.loss);
      optimizer.zeroGrad();
      sync.backward(() => losses.backward(), true);
      checkTrained(model, step);
      if (!lossesOnly) checkGradients(number, model, step, run, tolerance);
      optimizer.step(step.lr);
      if (!lossesOnly) checkTemperature(model, step, tolerance.value);
    });
    images.dispose();
    handles.push(liveHandles());
  }
  const [, ...later] = handles; // the first step makes the optimizer's averages
  assert.equal(new Set(later).size, 1, `a step leaves tensors behind: ${later}`);
  if (!lossesOnly) checkFinalState(model, run, tolerance.value);
  if (group) checkEqualOnAllRanks(model, group);
  for (const { step, expAvg, expAvgSq } of optimizer.state.values())
    for (const tensor of [step, expAvg, expAvgSq]) tensor.dispose();
  sync.dispose();
  model.dispose();
}

/** The exchange of gradients, in many small buckets. */
function dataParallel(model: TrainingModel, group: ProcessGroup): DataParallel {
  const parameters = [...model.parameters.values()];
  const trained = new Set(parameters);
  const buffers = [...model.state.values()].filter((tensor) => !trained.has(tensor));
  return new DataParallel(parameters, buffers, group, { bucketMiB: 0.05 });
}

/** (B, 3, P, P) normalised. */
async function loadImages(folder: string, names: readonly string[], device: Device): Promise<Tensor> {
  const bytes = SIZE * SIZE * 3;
  const pixels = new Uint8Array(names.length * bytes);
  for (const [i, name] of names.entries())
    evaluationTransform(await decodeRgb(join(folder, name)), SIZE, pixels.subarray(i * bytes, (i + 1) * bytes));
  return scope(() => normalizeImages(ops.fromBytes(pixels, 'uint8', [names.length, SIZE, SIZE, 3]), device));
}

function checkLosses(number: number, losses: StepLosses, step: RecordedStep, tolerance: number): void {
  for (const [name, loss, expected] of [
    ['ITA', losses.ita.item(), step.loss_ita],
    ['ITM', losses.itm.item(), step.loss_itm],
  ] as const)
    assert.ok(Math.abs(loss - expected) < tolerance, `step ${number}: ${name} is ${loss} instead of ${expected}`);
  assert.equal(losses.withoutNegative, 0);
}

/** The parameters with a gradient are those that have one in the reference. */
function checkTrained(model: TrainingModel, step: RecordedStep): void {
  const trained = [...model.parameters].filter(([, { grad }]) => grad !== null).map(([name]) => name);
  assert.deepEqual(trained.sort(), Object.keys(step.grad_norms).sort());
}

function checkGradients(
  number: number,
  model: TrainingModel,
  step: RecordedStep,
  run: RecordedRun,
  tolerance: TrainingTolerance,
): void {
  for (const [name, { grad }] of model.parameters) {
    assert.ok(grad, name);
    const norm = normOf(grad);
    const expected = step.grad_norms[name] ?? Number.NaN;
    const bound = isKeyBias(name) ? KEY_BIAS_GRADIENT : tolerance.norm * expected + 1e-9;
    assert.ok(
      Math.abs(norm - expected) <= bound,
      `step ${number}: ‖gradient of ${name}‖ is ${norm} instead of ${expected}`,
    );
    const full = run.tensors.get(`step${number}/grad/${name}`);
    if (full) compareValues(name, grad, full, tolerance.value * Math.max(1, expected), KEY_BIAS_GRADIENT);
  }
}

function checkTemperature(model: TrainingModel, { temp }: RecordedStep, tolerance: number): void {
  if (temp === undefined) return;
  const actual = model.parameters.get('temp')?.item() ?? Number.NaN;
  assert.ok(Math.abs(actual - temp) < tolerance, `the temperature is ${actual} instead of ${temp}`);
}

/** Weights, momentum copies and queues after the last step: all values that were recorded, and all norms. */
function checkFinalState(model: TrainingModel, run: RecordedRun, tolerance: number): void {
  const keyBias = 2 * run.steps.reduce((sum, { lr }) => sum + lr, 0); // as far as AdamW can move it in both runs
  let compared = 0;
  for (const [name, tensor] of model.state)
    scope(() => {
      const full = run.tensors.get(`final/${name}`);
      if (full?.dtype === 'float32') compareValues(name, tensor, full, tolerance, keyBias);
      else if (full) assert.deepEqual(tensor.bytes(), full.data, name);
      if (full) compared++;
      if (run.final_norms === undefined || isKeyBias(name) || isQkvBias(name)) return;
      const expected = run.final_norms[name] ?? Number.NaN;
      const norm = normOf(tensor);
      assert.ok(
        Math.abs(norm - expected) <= 1e-4 * Math.max(1, expected),
        `‖${name}‖ is ${norm} instead of ${expected}`,
      );
    });
  assert.equal(compared, [...run.tensors.keys()].filter((name) => name.startsWith('final/')).length);
}

function checkEqualOnAllRanks(model: TrainingModel, group: ProcessGroup): void {
  for (const [name, tensor] of model.state)
    scope(() => {
      const sum = noGrad(() => ops.reshape(ops.sum(ops.to(tensor, { dtype: 'float64' })), [1]));
      const sums = new Float64Array(group.allGather(sum).bytes().buffer);
      assert.equal(new Set(sums).size, 1, `${name} differs between the ranks`);
    });
}

// A bias of the keys adds the same to all logits of a query, so its true gradient is zero and what it has is rounding:
// biases of keys are compared with bounds of their own. In the vision encoder they are the second third of qkv.bias.
const KEY_BIAS_GRADIENT = 1e-5;
const isKeyBias = (name: string) => name.endsWith('.key.bias');
const isQkvBias = (name: string) => name.endsWith('attn.qkv.bias');

/** Compares a gradient or final value. */
function compareValues(name: string, actual: Tensor, full: SafeTensor, tolerance: number, keyBias: number): void {
  const expected = ops.fromBytes(full.data, 'float32', full.shape);
  if (!isQkvBias(name)) {
    assertClose(actual, expected, isKeyBias(name) ? keyBias : tolerance, name);
    return;
  }
  const third = (x: Tensor, i: number) => ops.slice(x, 0, (i * x.size(0)) / 3, ((i + 1) * x.size(0)) / 3);
  for (const [i, part] of ['queries', 'keys', 'values'].entries())
    assertClose(third(actual, i), third(expected, i), part === 'keys' ? keyBias : tolerance, `${name} of the ${part}`);
}

function normOf(x: Tensor): number {
  const double = ops.to(x, { dtype: 'float64' });
  return Math.sqrt(ops.sum(ops.mul(double, double)).item());
}
