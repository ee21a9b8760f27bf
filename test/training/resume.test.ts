// What a resumed run says of settings that changed, and the recalls that a log keeps for a checkpoint_best.pth.
// Covers training/resume, run-logs.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { changedSettings } from '#blip/training/resume.js';
import { hasEpochs, loggedBest } from '#blip/training/run-logs.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

test('settings of the checkpoint against those of the config', () => {
  const then = new Map<unknown, unknown>([
    ['alpha', 0.4],
    ['image_root', '/old'],
    ['vit', 'tiny'],
    ['med_config', new Map([['hidden_dropout_prob', 0.1]])],
    ['gone', true],
  ]);
  const same = { alpha: 0.4, image_root: '/new', vit: 'tiny', med_config: { hidden_dropout_prob: 0.1 }, gone: true };
  assert.deepEqual(changedSettings(then, same), []);
  assert.deepEqual(changedSettings(then, { ...same, alpha: 0.5, med_config: { hidden_dropout_prob: 0 } }), [
    'alpha 0.4, now 0.5',
    'med_config {hidden_dropout_prob: 0.1}, now {hidden_dropout_prob: 0}',
  ]);
  const { gone: _, ...without } = same;
  assert.deepEqual(changedSettings(then, { ...without, k_test: 3 }), [
    'gone true, now not given',
    'k_test not given, now 3',
  ]);
});

test('the recalls of the best epoch come from its line, the last one of that number', () => {
  assert.equal(loggedBest(folder, 0), undefined);
  assert.equal(hasEpochs(folder), false);
  const names = ['txt_r1', 'txt_r5', 'txt_r10', 'txt_r_mean', 'img_r1', 'img_r5', 'img_r10', 'img_r_mean', 'r_mean'];
  const line = (epoch: number, best: number, recall: number) =>
    JSON.stringify({
      train_lr: '0.000',
      ...Object.fromEntries(
        names.flatMap((name, i) => [
          [`val_${name}`, recall],
          [`test_${name}`, recall + i],
        ]),
      ),
      epoch,
      best_epoch: best,
    });
  writeFileSync(
    join(folder, 'log.txt'),
    [line(0, 0, 10), line(1, 1, 20), line(0, 0, 30), line(1, 0, 25), '{"epoch": 0, "best_'].join('\n'),
  );
  assert.equal(hasEpochs(folder), true);
  const expected = Object.fromEntries(names.map((name, i) => [name, 30 + i]));
  assert.deepEqual(loggedBest(folder, 0), { best: 30, bestTest: expected });
  assert.equal(loggedBest(folder, 1)?.best, 20, 'a line whose epoch was not the best does not count');
  assert.equal(loggedBest(folder, 2), undefined);
});
