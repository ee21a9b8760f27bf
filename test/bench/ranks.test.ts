// `bench ranks`: one process beside two ranks, which give the same scores; and what cannot be divided.
// Covers bench/own/place, print-ranks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printRanks } from '#blip/bench/print-ranks.js';
import { benchRanks } from '#blip/bench/ranks.js';
import { UserError } from '#blip/errors.js';

const options = {
  vit: 'tiny',
  image_size: 96,
  queue_size: 64,
  precision: 'fp32',
  batch: 2,
  threads: 2,
  rank_threads: 1,
  seed: 42,
  images: 6,
  texts: 12,
  k: 3,
  train_batch: 4,
  vit_ckpt_layer: 1,
  steps: 1,
  rounds: 1,
} as const;

test('threads that do not make several ranks are refused', async () => {
  for (const [threads, rank_threads] of [
    [2, 2],
    [3, 2],
  ] as const)
    await assert.rejects(
      benchRanks({ ...options, threads, rank_threads }),
      (error) =>
        error instanceof UserError && error.exitCode === 2 && /cannot make several ranks of 2/.test(error.message),
    );
});

test('two ranks give the scores of one process, and a batch that they cannot share is not trained', async () => {
  const report = await benchRanks({ ...options, train_batch: 3 });
  assert.deepEqual(report.layouts, [
    { ranks: 1, threads: 2 },
    { ranks: 2, threads: 1 },
  ]);
  assert.equal(report.scores.both, 6 * 3 + 12 * 3);
  assert.ok(report.scores.maxDifference < 1e-4 && report.scores.one === 0);
  assert.equal(report.evaluation.length, 2);
  assert.deepEqual(report.training, { skipped: '2 ranks cannot share a batch of 3' });
  assert.match(printRanks(report), /Training was not measured: 2 ranks cannot share a batch of 3\./);
});

test('training is measured in both', async () => {
  const { training } = await benchRanks(options);
  assert.ok(!('skipped' in training), JSON.stringify(training));
  for (const { seconds, cpu_seconds, peak_bytes } of training)
    assert.ok(seconds.min > 0 && cpu_seconds.min > 0 && peak_bytes > 2 ** 25);
});
