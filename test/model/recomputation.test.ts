// Blocks that recompute: only where memory is short, and without a trace in the results. Dropout and drop path are on.
// Covers model/training-model, model/vision-transformer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { architectureFor, drawnState } from '#blip/bench/drawn-weights.js';
import { oneRank, type Ranks } from '#blip/distributed/ranks.js';
import { type TrainingBatch, TrainingModel } from '#blip/model/training-model.js';
import { activationBytes, VisionTransformer } from '#blip/model/vision-transformer.js';
import { AdamW } from '#blip/torch/adamw.js';
import { manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import { autocast, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';
import { assertClose } from '../helpers/tensors.js';

const architecture = architectureFor({ vit: 'tiny', image_size: 96, queue_size: 64 });
const saved = 2 * 3 * activationBytes(architecture.vision, 'fp32'); // of two blocks, three images
const recomputing = VisionTransformer.prototype.forwardCheckpointed;

/** Two steps with so much free memory: the bytes of every parameter, and how many steps recomputed. */
function trained(free: number, ranks: Ranks = oneRank): { bytes: Buffer[]; recomputed: number } {
  let recomputed = 0;
  VisionTransformer.prototype.forwardCheckpointed = function (...given) {
    recomputed++;
    return recomputing.apply(this, given);
  };
  try {
    const state = drawnState(architecture, () => true);
    const options = { checkpointedBlocks: 2, freeMemory: () => free, encToken: 1, ranks };
    using model = new TrainingModel(state, architecture, options);
    for (const tensor of state.values()) tensor.dispose();
    manualSeed(7);
    const optimizer = new AdamW([...model.parameters.values()], { weightDecay: 0.05 });
    const texts = [Int32Array.of(101, 5, 6, 102), Int32Array.of(101, 9, 102), Int32Array.of(101, 8, 7, 6, 102)];
    for (let step = 0; step < 2; step++)
      scope(() => {
        const batch: TrainingBatch = { images: ops.randn([3, 3, 96, 96]), texts, idx: [0, 1, 2] };
        const losses = model.forward(batch, 0.4);
        optimizer.zeroGrad();
        losses.backward();
        optimizer.step(1e-3);
      });
    return { bytes: [...model.state.values()].map((tensor) => Buffer.from(tensor.bytes())), recomputed };
  } finally {
    VisionTransformer.prototype.forwardCheckpointed = recomputing;
  }
}

test('a CPU with memory to spare keeps what it need not recompute, and every bit of the state is the same', () => {
  const kept = trained(16 * saved);
  const again = trained(16 * saved - 1);
  assert.deepEqual([kept.recomputed, again.recomputed], [0, 2]);
  assert.ok(kept.bytes.every((bytes, i) => bytes.equals(again.bytes[i] as Buffer)));
});

test('ranks recompute together: when memory is short for one of them, and as if all were on one machine', () => {
  const ranks = (short: boolean): Ranks => ({ ...oneRank, worldSize: 2, any: (flag) => flag || short });
  assert.equal(trained(32 * saved, ranks(false)).recomputed, 0);
  assert.equal(trained(32 * saved - 1, ranks(false)).recomputed, 2);
  assert.equal(trained(32 * saved, ranks(true)).recomputed, 2);
});

for (const precision of ['fp32', 'bf16'] as const)
  test(`the class token alone is that of all tokens, from the same random numbers, in ${precision}`, () => {
    scope(() => {
      const vision = new VisionTransformer(
        drawnState(architecture, (name) => name.startsWith('visual_encoder.')),
        architecture.vision,
      );
      vision.training = true;
      const images = ops.randn([8, 3, 96, 96]);
      const classToken = (forward: () => Tensor): [Tensor, number] => {
        manualSeed(3);
        const run = () => noGrad(forward);
        const out = precision === 'bf16' ? autocast('cpu', 'bfloat16', run) : run();
        return [ops.to(ops.select(out, 1, 0), { dtype: 'float32' }), ops.randn([1]).item()];
      };
      const all = classToken(() => vision.forward(images));
      const first = classToken(() => vision.forwardClass(images));
      assert.equal(first[1], all[1]);
      assertClose(first[0], all[0], precision === 'bf16' ? 0.05 : 1e-5, 'the class token');
    });
  });
