// What is in memory of a checkpoint once a model for inference is made from it, and that the model is the same.
// Covers model/blip-retrieval, torch/nn.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { drawnValue } from '#blip/bench/drawn-weights.js';
import { writeModel } from '#blip/demo/checkpoint.js';
import { architectureOf } from '#blip/model/architecture.js';
import { BlipRetrieval } from '#blip/model/blip-retrieval.js';
import { loadPretrained } from '#blip/model/pretrained.js';
import { isEvaluated, stateDictEntries } from '#blip/model/state-dict.js';
import * as ops from '#blip/torch/ops.js';
import type { Precision } from '#blip/torch/precision.js';
import { liveHandles, scope } from '#blip/torch/tensor.js';
import { temporaryFolder } from '../helpers/files.js';
import { residentOf } from '../helpers/resident.js';

// Layers as wide as the published ones, which are packed, but one block of images and two of texts.
const published = architectureOf({ vit: 'base', imageSize: 32, queueSize: 8, medConfig: {} });
const architecture = {
  ...published,
  vision: { ...published.vision, depth: 1 },
  text: { ...published.text, depth: 2, vocabulary: 2_000 },
};
const path = join(temporaryFolder(), 'wide.pth');
const entries = stateDictEntries(architecture);
await writeModel(path, entries, (entry, n) => drawnValue(entry, n, 0.04));
const bytes = entries
  .filter(([name]) => isEvaluated(name))
  .reduce((sum, [, shape]) => sum + 4 * shape.reduce((product, size) => product * size, 1), 0);

/** Features of an image and a text. */
function featuresOf(model: BlipRetrieval): Float32Array[] {
  return scope(() => [
    model.encodeImages(ops.full([1, 3, 32, 32], 0.5)).features.float32(),
    model.embedTexts([Int32Array.of(101, 7, 9, 102)]).float32(),
  ]);
}

for (const precision of ['fp32', 'bf16'] satisfies Precision[])
  test(`${precision}: a model that takes its weights over leaves little of the file in memory`, async () => {
    const made = async (consume: boolean) => {
      const { state } = await loadPretrained(path, architecture);
      return { state, model: new BlipRetrieval(state, architecture, { precision, consume }) };
    };
    const live = liveHandles();
    const shared = await made(false);
    const [expected, resident] = [featuresOf(shared.model), residentOf(path)];
    assert.ok(resident > bytes / 2, `${resident} of ${bytes} bytes: else the next figure says nothing`);
    shared.model.dispose();
    for (const tensor of shared.state.values()) tensor.dispose();
    assert.equal(residentOf(path), 0);

    const { state, model } = await made(true);
    assert.ok([...state.values()].every((tensor) => tensor.disposed));
    assert.deepEqual(featuresOf(model), expected);
    // Tables and normalisations, of which a page brings its neighbours.
    assert.ok(residentOf(path) < bytes / 5, `${residentOf(path)} of ${bytes} bytes`);
    model.dispose();
    assert.deepEqual([residentOf(path), liveHandles()], [0, live]);
  });
