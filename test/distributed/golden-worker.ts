// One of two ranks that repeat the reference's two-process training, recorded negatives put in; fails where it differs.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { preCaption } from '#blip/data/caption.js';
import { evaluationTransform } from '#blip/data/images/decode.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { DataParallel } from '#blip/distributed/data-parallel.js';
import { exchangeOf, ProcessGroup } from '#blip/distributed/process-group.js';
import { rankFromEnvironment } from '#blip/distributed/rank.js';
import { architectureOf } from '#blip/model/architecture.js';
import { normalizeImages } from '#blip/model/normalize-images.js';
import { loadTrainingState } from '#blip/model/pretrained.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { AdamW } from '#blip/torch/adamw.js';
import * as ops from '#blip/torch/ops.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { liveHandles, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';
import { fixture } from '../helpers/fixtures.js';
import { largestDifference, readJson } from '../helpers/tensors.js';

interface Step {
  alpha: number;
  rows: number[];
  idx: number[];
  loss_ita: number;
  loss_itm: number;
  negatives: { choice: number }[];
  grad_norms_after_all_reduce: Record<string, number>;
}

const SIZE = 96;
const LR = 1e-4;
const checkpointedBlocks = Number(process.argv[2]);
const place = rankFromEnvironment(process.env);
assert.ok(place);
const group = ProcessGroup.init({ ...place, joinTimeoutMs: 60_000, timeoutMs: 60_000 });

const architecture = architectureOf({
  vit: 'tiny',
  imageSize: SIZE,
  queueSize: 64,
  medConfig: { hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 },
});
const { ranks } = readJson<{ ranks: Step[][] }>(fixture('ddp.json') as string);
const steps = ranks[place.rank] as Step[];
const rows = readJson<{ image: string; caption: string }[]>(
  join(fixture('data') as string, 'annotation/coco_karpathy_train.json'),
);
const tokenizer = Tokenizer.load();
const { state } = await loadTrainingState(fixture('tiny.pth') as string, architecture, { seed: 0 });
// Rank 1 starts elsewhere: the exchange at the start must bring it to rank 0's weights.
if (place.rank === 1)
  for (const tensor of state.values()) if (tensor.dtype === 'float32') ops.addInPlace(tensor, ops.float32([1], []));

let recorded: Step['negatives'] = [];
const model = new TrainingModel(state, architecture, {
  negativeAllRank: true,
  checkpointedBlocks,
  encToken: tokenizer.encTokenId,
  exchange: exchangeOf(group),
  chooseNegatives: () => ({
    imageOfText: recorded.slice(0, 4).map(({ choice }) => choice),
    textOfImage: recorded.slice(4).map(({ choice }) => choice),
  }),
});
const parameters = [...model.parameters.values()];
const learned = new Set(parameters);
const buffers = [...model.state.values()].filter((tensor) => !learned.has(tensor));
const parallel = new DataParallel(parameters, buffers, group, { bucketMiB: 0.05 });
const optimizer = new AdamW(parameters, { weightDecay: 0.05 });

function norm(x: Tensor): number {
  const double = ops.to(x, { dtype: 'float64' });
  return Math.sqrt(ops.sum(ops.mul(double, double)).item());
}

/** Biases whose true gradient is zero: what is there is rounding. */
const isKeyBias = (name: string) => name.endsWith('.key.bias');

let leaked = 0;
for (const [number, step] of steps.entries()) {
  recorded = step.negatives;
  const pixels = new Uint8Array(step.rows.length * SIZE * SIZE * 3);
  for (const [i, row] of step.rows.entries()) {
    const image = join(fixture('data/images') as string, rows[row]?.image ?? '');
    await evaluationTransform(image, SIZE, pixels.subarray(i * SIZE * SIZE * 3, (i + 1) * SIZE * SIZE * 3));
  }
  const texts = step.rows.map((row) => tokenizer.encode(preCaption(rows[row]?.caption ?? '')).ids);
  scope(() => {
    const images = normalizeImages(ops.fromBytes(pixels, 'uint8', [texts.length, SIZE, SIZE, 3]), 'cpu');
    parallel.beginStep();
    const losses = model.forward({ images, texts, idx: step.idx }, step.alpha);
    for (const [name, loss, expected] of [
      ['ITA', losses.ita.item(), step.loss_ita],
      ['ITM', losses.itm.item(), step.loss_itm],
    ] as const)
      assert.ok(Math.abs(loss - expected) < 1e-5, `step ${number}: ${name} ${loss} instead of ${expected}`);
    optimizer.zeroGrad();
    parallel.backward(losses.backward);
    for (const [name, expected] of Object.entries(step.grad_norms_after_all_reduce)) {
      const gradient = model.parameters.get(name)?.grad;
      assert.ok(gradient, `step ${number}: ${name} has no gradient`);
      const actual = norm(gradient);
      const bound = isKeyBias(name) ? 1e-5 : 1e-3 * expected + 1e-9;
      assert.ok(
        Math.abs(actual - expected) <= bound,
        `step ${number}: ‖gradient of ${name}‖ is ${actual} instead of ${expected}`,
      );
    }
    optimizer.step(LR);
  });
  if (number === 1) leaked = liveHandles();
  if (number > 1) assert.equal(liveHandles(), leaked, 'a step leaves no tensor behind');
}

// ---- the state after the last step: recorded for rank 0, and the same on both ranks
let compared = 0;
const keyBias = 2 * LR * steps.length;
noGrad(() =>
  scope(() => {
    const golden = readSafetensors(fixture('ddp.safetensors') as string);
    for (const [name, tensor] of model.state) {
      const expected = golden.get(`final/${name}`);
      if (expected?.dtype === 'float32') {
        const flat = ops.reshape(tensor, [-1]);
        const width = flat.numel;
        const isQkv = name.endsWith('attn.qkv.bias');
        const parts = isQkv
          ? [0, 1, 2].map((i) => [(i * width) / 3, ((i + 1) * width) / 3] as const)
          : [[0, width] as const];
        const full = ops.fromBytes(expected.data, 'float32', [width]);
        for (const [i, [from, to]] of parts.entries()) {
          const difference = largestDifference(ops.slice(flat, 0, from, to), ops.slice(full, 0, from, to));
          const bound = isKeyBias(name.replace('_m.', '.')) || (isQkv && i === 1) ? keyBias : 2e-5;
          assert.ok(difference <= bound, `${name} differs by ${difference} at the end`);
        }
        compared++;
      } else if (expected) {
        assert.deepEqual(tensor.bytes(), expected.data, name);
        compared++;
      }
      const sum = ops.reshape(ops.sum(ops.to(tensor, { dtype: 'float64' })), [1]);
      const both = new Float64Array(group.allGather(sum).bytes().buffer);
      assert.equal(both[0], both[1], `${name} is not the same on both ranks`);
    }
  }),
);
assert.ok(compared > 100, `only ${compared} entries were compared`);
process.stdout.write(`${JSON.stringify({ steps: steps.length })}\n`);
group.destroy();
