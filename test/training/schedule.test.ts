// The learning rate of every epoch against the reference's, and the ramp of the soft targets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { learningRate, softTargetShare } from '#blip/training/schedule.js';
import { fixture } from '../helpers/fixtures.js';
import { readJson } from '../helpers/tensors.js';

interface Row {
  epoch: number;
  max_epoch: number;
  init_lr: number;
  min_lr: number;
  lr: number;
}

test('the learning rates are those of the reference', () => {
  const rows = readJson<Row[]>(fixture('lr_schedule.json') as string);
  assert.equal(rows.length, 6);
  for (const { epoch, max_epoch, init_lr, min_lr, lr } of rows)
    assert.ok(Math.abs(learningRate(epoch, max_epoch, init_lr, min_lr) - lr) <= 1e-12, `epoch ${epoch}`);
});

test('soft targets come in over the first epoch, in equal steps', () => {
  assert.deepEqual(
    [0, 1, 3].map((step) => softTargetShare(0.4, 0, step, 4)),
    [0, 0.1, 0.30000000000000004],
  );
  assert.equal(softTargetShare(0.4, 1, 0, 4), 0.4);
});
