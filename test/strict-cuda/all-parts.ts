// A program in which every part of training and evaluation computes on cuda:0, in a second or two. planted.strict-test.ts
// runs it with faults planted; it ends with exit code 0 if it meets none.
import assert from 'node:assert/strict';
import { ProcessGroup } from '#blip/distributed/process-group.js';
import { evaluateSplit } from '#blip/evaluation/evaluate.js';
import { architectureOf } from '#blip/model/architecture.js';
import { BlipRetrieval } from '#blip/model/blip-retrieval.js';
import { imagesFromBytes, normalizeImages } from '#blip/model/normalize-images.js';
import { attendVariableLength, attentionFor } from '#blip/model/packed-attention.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { AdamW } from '#blip/torch/adamw.js';
import { manualSeed } from '#blip/torch/generator.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { scope } from '#blip/torch/tensor.js';
import { freePort } from '../helpers/ranks.js';
import { ruleWeights } from '../helpers/rule-weights.js';

const device = 'cuda:0';
const SIZE = 32;
const ENC = 30_523;
const tiny = architectureOf({ vit: 'tiny', imageSize: SIZE, queueSize: 8, medConfig: {} });
const architecture = { ...tiny, vision: { ...tiny.vision, dropPath: 0.5 } };

native().setDevice(0);
native().setTf32(false);
const alone = { rank: 0, worldSize: 1, localRank: 0, masterAddr: '127.0.0.1', agentStore: false, restarts: 0 };
const group = ProcessGroup.init({ ...alone, masterPort: await freePort(), device });

const pixelsOf = (images: Int32Array) =>
  Buffer.concat(Array.from(images, (image) => Buffer.alloc(SIZE * SIZE * 3, (image * 37) % 256)));
const captionOf = (number: number) =>
  Int32Array.from([101, ...Array.from({ length: 1 + ((number * 7) % 5) }, (_, i) => 1000 + number * 13 + i), 102]);
const four = Int32Array.of(0, 1, 2, 3);
const weights = ruleWeights(stateDictEntries(architecture), { scale: 0.15 });

// ---- the kernels for texts of different lengths

for (const dtype of ['float32', 'bfloat16'] as const) {
  const chosen = attentionFor(architecture.text, device, dtype, { gradients: true });
  assert.equal(chosen, attendVariableLength, `the variable-length attention in ${dtype} was not taken`);
}

// ---- training

/** Two steps; the gradients of the first, by their size. */
function train(checkpointedBlocks: number): number[] {
  const model = new TrainingModel(weights, architecture, {
    device,
    checkpointedBlocks,
    encToken: ENC,
    negativeAllRank: true,
    ranks: group,
  });
  const optimizer = new AdamW([...model.parameters.values()], { weightDecay: 0.05 });
  manualSeed(7);
  const norms: number[] = [];
  for (let step = 0; step < 2; step++)
    scope(() => {
      const images = imagesFromBytes(pixelsOf(four), 4, SIZE, device);
      const texts = Array.from(four, (row) => captionOf(row + step));
      const losses = model.forward({ images, texts, idx: [...four] }, 0.4);
      optimizer.zeroGrad();
      losses.backward();
      if (step === 0)
        for (const { grad } of model.parameters.values())
          if (grad !== null) norms.push(ops.sum(ops.mul(grad, grad)).item());
      optimizer.step(1e-4);
      assert.ok(Number.isFinite(losses.ita.item()) && Number.isFinite(losses.itm.item()), 'a loss is not finite');
    });
  model.dispose();
  return norms;
}
const [plain, again] = [train(0), train(2)];
const differs = plain.some((norm, i) => Math.abs(norm - (again[i] ?? Number.NaN)) > 1e-3 * norm + 1e-6);
assert.ok(!differs && plain.length === again.length, 'recomputed blocks have other gradients: they drop other samples');

// ---- evaluation

for (const precision of ['fp32', 'bf16'] as const) {
  const model = new BlipRetrieval(weights, architecture, { device, precision });
  const images = {
    count: 8,
    open: (wanted: Int32Array) => {
      const batches = [wanted.subarray(0, 4), wanted.subarray(4)].filter((batch) => batch.length > 0);
      const next = () => {
        const batch = batches.shift();
        return batch === undefined ? null : { count: batch.length, data: pixelsOf(batch), release: () => {} };
      };
      return { next, close: () => {} };
    },
  };
  const texts = Array.from({ length: 20 }, (_, number) => captionOf(number % 16)); // some are equal
  for (const featureMemory of [1e9, 0])
    evaluateSplit(model, { images, texts, encToken: ENC }, { kTest: 3, featureMemory, ranks: group });
  model.dispose();
}
scope(() => void normalizeImages(ops.fromBytes(pixelsOf(four), 'uint8', [4, SIZE, SIZE, 3]), device));

native().synchronize(0);
group.destroy();
console.log('done');
