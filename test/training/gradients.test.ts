// When gradients are there: from the first backward pass of an update to its end, and no longer.
// Covers training/train.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { architectureFor, drawnState } from '#blip/bench/drawn-weights.js';
import { noSync } from '#blip/distributed/data-parallel.js';
import { oneRank } from '#blip/distributed/ranks.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { AdamW } from '#blip/torch/adamw.js';
import * as ops from '#blip/torch/ops.js';
import { scope } from '#blip/torch/tensor.js';
import { initialState } from '#blip/training/run-state.js';
import { trainEpoch } from '#blip/training/train.js';
import type { LoadedBatch } from '#blip/training/training-data.js';
import { temporaryFolder } from '../helpers/files.js';

test("an update's gradients stand beside no other forward pass, and are gone when the epoch ends", async (t) => {
  const architecture = architectureFor({ vit: 'tiny', image_size: 96, queue_size: 64 });
  const state = drawnState(architecture, () => true);
  using model = new TrainingModel(state, architecture, { encToken: 1 });
  for (const tensor of state.values()) tensor.dispose();
  const parameters = [...model.parameters.values()];
  const there = () => scope(() => parameters.filter(({ grad }) => grad !== null).length);
  const forward = model.forward.bind(model);
  const seen: number[] = [];
  model.forward = (...given) => {
    seen.push(there());
    return forward(...given);
  };
  const texts = [Int32Array.of(101, 5, 6, 102), Int32Array.of(101, 9, 102)];
  const steps = 5;
  let step = 0;
  const next = (): LoadedBatch | null =>
    step++ < steps ? { images: ops.randn([2, 3, 96, 96]), texts, idx: [0, 1], rows: [0, 1], unread: [] } : null;
  await trainEpoch(
    {
      ranks: oneRank,
      logger: { quiet: true },
      print: () => {},
      options: {
        outputDir: temporaryFolder(t),
        training: { accumulate: 2, logEvery: 2, saveEvery: undefined, maxSteps: undefined },
      },
    },
    {
      settings: { alpha: 0.4 },
      model,
      optimizer: new AdamW(parameters, { weightDecay: 0.05 }),
      sync: noSync,
      signals: { caught: undefined },
      data: {
        stepsPerEpoch: steps,
        open: () => ({ next, close: () => {} }),
        countBadImages: () => {},
        hasTooManyBadImages: false,
      },
    },
    initialState(),
    1e-5,
    async () => {},
  );
  const all = parameters.length;
  assert.deepEqual(seen, [0, all, 0, all, 0]); // the fifth batch is an update of its own
  assert.equal(there(), 0);
});
