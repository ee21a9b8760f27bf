// What is looked at before a checkpoint is written: numbers that are finite, room on the disk.
// Covers training/check-finite, disk-space.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { AdamW } from '#blip/torch/adamw.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, noGrad, scope } from '#blip/torch/tensor.js';
import { firstNotFinite } from '#blip/training/check-finite.js';
import { checkpointBytes, roomWarning } from '#blip/training/disk-space.js';
import { temporaryFolder } from '../helpers/files.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { tinyArchitecture } from '../helpers/tiny-run.js';

const folder = temporaryFolder();

const state = ruleWeights(stateDictEntries(tinyArchitecture), { scale: 0.15 });
const model = new TrainingModel(state, tinyArchitecture, {
  negativeAllRank: false,
  checkpointedBlocks: 0,
  encToken: 1,
});

test('a single number that is not finite is found, in weights and in averages', () => {
  const optimizer = new AdamW([...model.parameters.values()], { weightDecay: 0 });
  assert.equal(firstNotFinite(model, optimizer), undefined);
  const name = 'visual_encoder.blocks.1.mlp.fc1.weight';
  const weight = model.parameters.get(name);
  assert.ok(weight);
  const handles = liveHandles();
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    scope(() => {
      const one = noGrad(() => ops.slice(ops.slice(weight, 0, 3, 4), 1, 5, 6));
      const before = ops.clone(one);
      noGrad(() => ops.copyInPlace(one, ops.full([1, 1], bad)));
      assert.equal(firstNotFinite(model, optimizer), name);
      noGrad(() => ops.copyInPlace(one, before));
    });
    assert.equal(firstNotFinite(model, optimizer), undefined);
  }
  assert.equal(liveHandles(), handles);
  const index = [...model.parameters.keys()].indexOf(name);
  const ones = () => ops.full(weight.shape, 1);
  const overflown = ops.full(weight.shape, Number.POSITIVE_INFINITY);
  optimizer.state.set(index, { step: ops.full([], 1), expAvg: ones(), expAvgSq: ones() });
  assert.equal(firstNotFinite(model, optimizer), undefined);
  optimizer.state.set(index, { step: ops.full([], 1), expAvg: ones(), expAvgSq: overflown });
  assert.equal(firstNotFinite(model, optimizer), `the optimizer's average for ${name}`);
});

test('too little room for both checkpoints and the one being written is said beforehand', () => {
  const bytes = checkpointBytes(model);
  assert.ok(bytes > 30e6 && bytes < 45e6, `${bytes}`);
  assert.equal(roomWarning(folder, 1), undefined);
  assert.match(
    roomWarning(folder, 1e18) ?? '',
    /^Not enough room for this run's checkpoints in .*: 3000000\.0 TB needed, \d+\.\d [GT]B free\./,
  );
  writeFileSync(join(folder, 'checkpoint_last.pth'), '');
  assert.match(roomWarning(folder, 1e18) ?? '', /: 2000000\.0 TB needed/);
  assert.equal(roomWarning(join(folder, 'absent'), 1e18), undefined);
});
