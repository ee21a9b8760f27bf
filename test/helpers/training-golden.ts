// Training steps compared with the reference's recorded ones: losses, gradients, momentum, queues, the final state.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { decodeRgb } from '#blip/data/images/decode.js';
import { evaluationTransform } from '#blip/data/images/evaluation-transform.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { architectureOf } from '#blip/model/architecture.js';
import type { Precision } from '#blip/model/blip-retrieval.js';
import { normalizeImages } from '#blip/model/normalize-images.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { AdamW } from '#blip/torch/adamw.js';
import * as ops from '#blip/torch/ops.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { type Device, liveHandles, scope, type Tensor } from '#blip/torch/tensor.js';
import { assertClose, readJson } from './tensors.js';

interface Step {
  alpha: number;
  lr: number;
  idx: number[];
  captions: string[];
  images: string[];
  loss_ita: number;
  loss_itm: number;
  temp: number;
  negatives: { choice: number }[];
  grad_norms: Record<string, number>;
}

const SIZE = 96;
/** The tiny model without dropout, as the recorded runs had it. */
export const trainingArchitecture = architectureOf({
  vit: 'tiny',
  imageSize: SIZE,
  queueSize: 64,
  medConfig: { hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 },
});
const isKeyBias = (name: string) => /\.key\.bias$|attn\.qkv\.bias$/.test(name);

async function loadImages(folder: string, names: string[], device: Device): Promise<Tensor> {
  const pixels = new Uint8Array(names.length * SIZE * SIZE * 3);
  for (const [i, name] of names.entries())
    evaluationTransform(
      await decodeRgb(join(folder, name)),
      SIZE,
      pixels.subarray(i * SIZE * SIZE * 3, (i + 1) * SIZE * SIZE * 3),
    );
  return scope(() => normalizeImages(ops.fromBytes(pixels, 'uint8', [names.length, SIZE, SIZE, 3]), device));
}

/** Compares a gradient or final value; key biases move by rounding alone and are compared by the caller's bound. */
function compare(name: string, actual: Tensor, expected: Tensor, tolerance: number, keyBias: number): void {
  if (name.endsWith('attn.qkv.bias')) {
    const third = (x: Tensor, i: number) => ops.slice(x, 0, (i * x.size(0)) / 3, ((i + 1) * x.size(0)) / 3);
    for (const i of [0, 2]) assertClose(third(actual, i), third(expected, i), tolerance, `${name}[${i}]`);
    assertClose(third(actual, 1), third(expected, 1), keyBias, `${name}, the keys' part,`);
  } else assertClose(actual, expected, name.endsWith('.key.bias') ? keyBias : tolerance, name);
}

/** How much may differ: losses, norms of gradients relative, values absolute. The CPU's are the defaults. */
export interface TrainingTolerance {
  loss: number;
  norm: number;
  value: number;
}

/**
 * Repeats the recorded steps from `state`, which is disposed, recorded negatives put in, and fails where anything differs by more. In bf16,
 * whose gradients are rounded to three digits, only the losses are compared: they must stay on the recorded curve.
 */
export async function checkTraining(
  state: ReadonlyMap<string, Tensor>,
  golden: { json: string; tensors: string; images: string },
  options: { checkpointedBlocks?: number; device?: Device; precision?: Precision; tolerance?: TrainingTolerance } = {},
): Promise<void> {
  const { checkpointedBlocks = 0, device = 'cpu', precision = 'fp32' } = options;
  const { tolerance = { loss: 1e-5, norm: 1e-3, value: 2e-5 } } = options;
  const lossesOnly = precision === 'bf16';
  const { steps, final_norms } = readJson<{ steps: Step[]; final_norms: Record<string, number> }>(golden.json);
  const tensors = readSafetensors(golden.tensors);
  const tokenizer = Tokenizer.load();
  let recorded: Step['negatives'] = [];
  const model = new TrainingModel(state, trainingArchitecture, {
    device,
    precision,
    negativeAllRank: false,
    checkpointedBlocks,
    encToken: tokenizer.encTokenId,
    chooseNegatives: () => ({
      imageOfText: recorded.slice(0, 4).map(({ choice }) => choice),
      textOfImage: recorded.slice(4).map(({ choice }) => choice),
    }),
  });
  // What one test leaves to be collected would be missed in the count of the next one's.
  for (const tensor of state.values()) tensor.dispose();
  const optimizer = new AdamW([...model.parameters.values()], { weightDecay: 0.05 });
  let leaked = 0;
  for (const [number, step] of steps.entries()) {
    recorded = step.negatives;
    const images = await loadImages(golden.images, step.images, device);
    const texts = step.captions.map((caption) => tokenizer.encode(caption).ids);
    scope(() => {
      const losses = model.forward({ images, texts, idx: step.idx }, step.alpha);
      assert.ok(
        Math.abs(losses.ita.item() - step.loss_ita) < tolerance.loss,
        `step ${number}: ITA ${losses.ita.item()} for ${step.loss_ita}`,
      );
      assert.ok(
        Math.abs(losses.itm.item() - step.loss_itm) < tolerance.loss,
        `step ${number}: ITM ${losses.itm.item()} for ${step.loss_itm}`,
      );
      assert.equal(losses.withoutNegative, 0);
      optimizer.zeroGrad();
      losses.backward();
      const named = [...model.parameters];
      assert.deepEqual(
        named
          .filter(([, parameter]) => parameter.grad !== null)
          .map(([name]) => name)
          .sort(),
        Object.keys(step.grad_norms).sort(),
      );
      for (const [name, parameter] of lossesOnly ? [] : named) {
        const grad = parameter.grad as Tensor;
        const norm = Math.sqrt(
          ops.sum(ops.mul(ops.to(grad, { dtype: 'float64' }), ops.to(grad, { dtype: 'float64' }))).item(),
        );
        const expected = step.grad_norms[name] ?? Number.NaN;
        const bound = isKeyBias(name) && !name.includes('qkv') ? 1e-5 : tolerance.norm * expected + 1e-9;
        assert.ok(
          Math.abs(norm - expected) <= bound,
          `step ${number}: ‖gradient of ${name}‖ is ${norm} instead of ${expected}`,
        );
        const full = tensors.get(`step${number}/grad/${name}`);
        if (full)
          compare(
            name,
            grad,
            ops.fromBytes(full.data, 'float32', full.shape),
            tolerance.value * Math.max(1, expected),
            1e-5,
          );
      }
      optimizer.step(step.lr);
      const temperature = Number(model.parameters.get('temp')?.item());
      assert.ok(lossesOnly || Math.abs(temperature - step.temp) < tolerance.value, `temperature ${temperature}`);
    });
    images.dispose();
    if (number === 1) leaked = liveHandles();
    if (number > 1) assert.equal(liveHandles(), leaked, 'a step leaves no tensor behind');
  }
  const keyBias = 2 * steps.reduce((sum, { lr }) => sum + lr, 0);
  scope(() => {
    for (const [name, tensor] of lossesOnly ? [] : model.state) {
      const full = tensors.get(`final/${name}`);
      if (full && full.dtype === 'float32')
        compare(name, tensor, ops.fromBytes(full.data, 'float32', full.shape), tolerance.value, keyBias);
      else if (full) assert.deepEqual(tensor.bytes(), full.data, name);
      const double = ops.to(tensor, { dtype: 'float64' });
      const norm = Math.sqrt(ops.sum(ops.mul(double, double)).item());
      const expected = final_norms[name] ?? Number.NaN;
      if (!isKeyBias(name))
        assert.ok(
          Math.abs(norm - expected) <= 1e-4 * Math.max(1, expected),
          `‖${name}‖ is ${norm} instead of ${expected}`,
        );
    }
  });
  for (const { step, expAvg, expAvgSq } of optimizer.state.values())
    for (const tensor of [step, expAvg, expAvgSq]) tensor.dispose();
  model.dispose();
}
