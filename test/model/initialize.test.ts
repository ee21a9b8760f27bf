// Initial weights at the published size: every one of them a finite number.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { architectureOf } from '#blip/model/architecture.js';
import { randomState } from '#blip/model/pretrained.js';
import * as ops from '#blip/torch/ops.js';
import { scope } from '#blip/torch/tensor.js';

test('no weight of a random model of base size is infinite: erfinv is, where the uniform number is -1', () => {
  scope(() => {
    const state = randomState(architectureOf({ vit: 'base', imageSize: 224, queueSize: 64, medConfig: {} }));
    const names = [...state.keys()];
    const sums = scope(() => ops.stack([...state.values()].map((tensor) => ops.sum(tensor))).float32());
    assert.deepEqual(
      names.filter((_, i) => !Number.isFinite(sums[i])),
      [],
    );
  });
});
