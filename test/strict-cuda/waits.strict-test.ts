// How often the host waits for a GPU, and how many copies it sends there: once an image in re-ranking, once a training
// step. Counted on the stand-in for CUDA, where every wait has a name. On a GPU each one too many is a pause of all of it.
// Covers torch/transfer, evaluation/rerank, training/train, model/training-model, model/blip-retrieval on a GPU.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { noSync } from '#blip/distributed/data-parallel.js';
import { ProcessGroup } from '#blip/distributed/process-group.js';
import { oneRank } from '#blip/distributed/ranks.js';
import { pairsByImage, selectCandidates } from '#blip/evaluation/candidates.js';
import { SILENT } from '#blip/evaluation/evaluate.js';
import { ImageStore } from '#blip/evaluation/image-store.js';
import { rerank } from '#blip/evaluation/rerank.js';
import { TextStore } from '#blip/evaluation/text-store.js';
import { uniqueTexts } from '#blip/evaluation/unique-texts.js';
import type { BlipRetrieval } from '#blip/model/blip-retrieval.js';
import { imagesFromBytes } from '#blip/model/normalize-images.js';
import { range } from '#blip/model/offsets.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { AdamW } from '#blip/torch/adamw.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import type { Precision } from '#blip/torch/precision.js';
import { scope } from '#blip/torch/tensor.js';
import { initialState } from '#blip/training/run-state.js';
import { trainEpoch } from '#blip/training/train.js';
import type { LoadedBatch } from '#blip/training/training-data.js';
import { freePort } from '../helpers/ranks.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { countWork, eachOf, noStandIn } from '../helpers/strict-cuda.js';
import { ruleTinyModel } from '../helpers/tensors.js';
import { trainingArchitecture } from '../helpers/training-golden.js';

const skip = noStandIn;
const device = 'cuda:0';
const SIZE = 96;
const IMAGES = 24;
const ENC = 30523;

const folder = mkdtempSync(join(tmpdir(), 'blip-waits-'));
after(() => rmSync(folder, { recursive: true }));

/** Pixels that differ from image to image. */
const pixels = (images: Int32Array) =>
  Buffer.concat(Array.from(images, (image) => Buffer.alloc(SIZE * SIZE * 3, (image * 37) % 256)));
/** Captions of three to twelve tokens. */
const caption = (number: number) =>
  Int32Array.from([101, ...Array.from({ length: 1 + ((number * 7) % 10) }, (_, i) => 1000 + number * 13 + i), 102]);

/** The images in batches of four. */
const source = {
  count: IMAGES,
  open: (images: Int32Array) => {
    let next = 0;
    return {
      next: () => {
        if (next >= images.length) return null;
        const batch = images.subarray(next, next + 4);
        next += 4;
        return { count: batch.length, data: pixels(batch), release: () => {} };
      },
      close: () => {},
    };
  },
};

/** All of an evaluation but the recalls: its re-ranking as a function of the number of images. */
function evaluation(model: BlipRetrieval, kept: 'kept' | 'encoded again') {
  const texts = uniqueTexts(Array.from({ length: 60 }, (_, number) => caption(number)));
  const textStore = TextStore.encode(model, texts, ENC, 65536, 1e9);
  const imageStore = ImageStore.encode(model, source, kept === 'kept' ? 1e9 : 0, SILENT);
  const candidates = scope(() => selectCandidates(imageStore.features, textStore.features, texts.rowOf, 8));
  const pairs = pairsByImage(candidates, texts.lengths);
  return {
    rerank: (images: number, tokenBudget = 65536) =>
      rerank(model, imageStore, textStore, {
        candidates,
        pairs,
        ownImages: range(0, images),
        tokenBudget,
        log: SILENT,
      }),
    dispose: () => {
      imageStore.dispose();
      textStore.dispose();
      model.dispose();
    },
  };
}

test('encoding images waits for none of them, and sends one copy a batch', { skip }, async () => {
  const model = ruleTinyModel({ device });
  const { waits, uploads } = await eachOf(2, (batches) =>
    ImageStore.encode(model, source, 1e9, SILENT, [0, 4 * batches]).dispose(),
  );
  assert.deepEqual({ waits, uploads }, { waits: 0, uploads: 1 });
  model.dispose();
});

test('re-ranking waits once an image, and sends one copy', { skip }, async () => {
  const { rerank, dispose } = evaluation(ruleTinyModel({ device }), 'kept');
  const { waits, uploads, readings } = await eachOf(8, (images) => void rerank(images));
  assert.deepEqual({ waits, uploads, readings }, { waits: 1, uploads: 1, readings: 1 });
  dispose();
});

test('re-ranking waits once an image where its texts come in chunks, with a copy a chunk', { skip }, async () => {
  const { rerank, dispose } = evaluation(ruleTinyModel({ device }), 'kept');
  const { waits, uploads, readings } = await eachOf(8, (images) => void rerank(images, 1)); // each text is a chunk
  assert.equal(waits, 1);
  assert.equal(uploads, readings);
  assert.ok(uploads > 8);
  dispose();
});

test('images that are encoded again are not waited for either: one copy a batch of four', { skip }, async () => {
  const { rerank, dispose } = evaluation(ruleTinyModel({ device }), 'encoded again');
  const { waits, uploads } = await eachOf(8, (images) => void rerank(images));
  assert.deepEqual({ waits, uploads }, { waits: 1, uploads: 1.25 });
  dispose();
});

test('the wait is for the image before: the device has the next one by then', { skip }, () => {
  const { rerank, dispose } = evaluation(ruleTinyModel({ device }), 'kept');
  const addon = native();
  const { recordEvent, waitFor } = addon;
  let calls = '';
  addon.recordEvent = (device) => {
    calls += 's';
    return recordEvent(device);
  };
  addon.waitFor = (event) => {
    calls += 'w';
    waitFor(event);
  };
  try {
    rerank(5);
  } finally {
    Object.assign(addon, { recordEvent, waitFor });
  }
  assert.equal(calls, 'sswswswsww');
  dispose();
});

/** Trains `steps` steps of four rows in one epoch. */
async function train(steps: number, precision: Precision, logEvery: number): Promise<void> {
  const state = ruleWeights(stateDictEntries(trainingArchitecture), { scale: 0.15 });
  const model = new TrainingModel(state, trainingArchitecture, { device, precision, encToken: ENC });
  for (const tensor of state.values()) tensor.dispose();
  const optimizer = new AdamW([...model.parameters.values()], { weightDecay: 0.05 });
  let step = 0;
  const next = (): LoadedBatch | null => {
    const rows = range(step * 4, ++step * 4);
    const images = imagesFromBytes(pixels(rows), rows.length, SIZE, device);
    return { images, rows: [...rows], idx: [...rows], texts: Array.from(rows, caption), unread: [] };
  };
  const training = { accumulate: 1, logEvery, saveEvery: undefined, maxSteps: undefined };
  const run = { ranks: oneRank, options: { outputDir: folder, training }, logger: { quiet: true }, print: () => {} };
  const bad = { countBadImages: () => {}, hasTooManyBadImages: false };
  const data = { stepsPerEpoch: steps, open: () => ({ next, close: () => {} }), ...bad };
  const trainer = { model, optimizer, settings: { alpha: 0.4 }, sync: noSync, signals: { caught: undefined }, data };
  await trainEpoch(run, trainer, { ...initialState(), epoch: 1 }, 1e-4, async () => {});
  model.dispose();
}

for (const precision of ['fp32', 'bf16'] as const) {
  test(`a training step in ${precision} waits once, and sends pixels, texts and pairs`, { skip }, async () => {
    const { waits, uploads, readings } = await eachOf(4, (steps) => train(steps, precision, 1000));
    assert.deepEqual({ waits, uploads, readings }, { waits: 1, uploads: 3, readings: 2 });
  });

  test(`a logged training step in ${precision} waits once more, for its losses`, { skip }, async () => {
    const { waits, uploads } = await eachOf(4, (steps) => train(steps, precision, 1));
    assert.deepEqual({ waits, uploads }, { waits: 2, uploads: 3 });
  });
}

test('an evaluation in bf16 casts its weights once, not for every batch', { skip }, async () => {
  const operators = async (precision: Precision) => {
    const model = ruleTinyModel({ device, precision });
    const each = await eachOf(3, (batches) => {
      for (let batch = 0; batch < batches; batch++)
        scope(() => model.encodeImages(imagesFromBytes(pixels(range(0, 4)), 4, SIZE, device)));
    });
    model.dispose();
    return each.operators;
  };
  // Autocast casts what is computed, a few times a block; the 12 weights and biases of a block's products are not.
  const { depth } = trainingArchitecture.vision;
  const [half, single] = [await operators('bf16'), await operators('fp32')];
  assert.ok(half - single < 8 * depth + 8, `${half} operators in bf16 and ${single} in fp32`);
});

test("the gather's gradient brings a rank the sums for its own rows alone", { skip }, async () => {
  const alone = { rank: 0, worldSize: 1, localRank: 0, masterAddr: '127.0.0.1', agentStore: false, restarts: 0 };
  const group = ProcessGroup.init({ ...alone, masterPort: await freePort(), device });
  const { counts } = await countWork(() =>
    scope(() => {
      const x = ops.to(ops.float32([1, 2, 3, 4], [2, 2]), { device });
      x.requiresGrad = true;
      const all = group.allGatherWithGradient(x);
      ops.sum(ops.mul(all, all)).backward();
      assert.deepEqual([...(x.grad?.float32() ?? [])], [2, 4, 6, 8]);
    }),
  );
  assert.equal(counts['nccl._reduce_scatter_base'], 1);
  assert.equal(counts['nccl.allreduce'], undefined);
  group.destroy();
});

test('16-bit attention has no plan to build for each new shape', { skip }, async () => {
  const { attentionShapes } = await countWork(async () => {
    const { rerank, dispose } = evaluation(ruleTinyModel({ device, precision: 'bf16' }), 'kept');
    rerank(IMAGES);
    dispose();
    await train(6, 'bf16', 1);
  });
  assert.ok(attentionShapes <= 4, `${attentionShapes} shapes`);
});
