// Fine-tuning as a user runs it: files as the reference's, an exact resume after signals, bad input.
// Kills that nobody can catch are in test/faults.
// Covers commands/fine-tune, training/train, epoch-log, checkpoint, resume, stop-signals.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { before, test } from 'node:test';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { flattenCheckpoint, openCheckpoint, stateDictOf } from '#blip/torch/checkpoint/index.js';
import { assertSameResult } from '../helpers/same-results.js';
import { TinyRuns, tinyArchitecture } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ few: true });
const STEPS = 12; // 48 rows in batches of 4
before(() => tiny.write());

test('a run writes the files of the reference, and ends of other runs are bit-equal to its own', async (t) => {
  const whole = await tiny.run('whole', '--save_every', '3');
  assert.equal(whole.code, 0, whole.stderr);
  assert.match(
    whole.stdout,
    /^Train Epoch: \[1\] {2}\[ 0\/12\] {2}eta: .* lr: 0\.000050 {2}loss_itm: .* {2}loss_ita: /m,
  );
  assert.match(whole.stdout, /^Averaged stats: lr: 0\.0001 {2}loss_itm: /m);

  await t.test('log.txt has the keys of the reference, in its order', () => {
    const lines = tiny.read('whole', 'log.txt').toString().trimEnd().split('\n');
    assert.equal(lines.length, 2);
    const recalls = [
      'txt_r1',
      'txt_r5',
      'txt_r10',
      'txt_r_mean',
      'img_r1',
      'img_r5',
      'img_r10',
      'img_r_mean',
      'r_mean',
    ];
    assert.deepEqual(Object.keys(JSON.parse(lines[0] ?? '')), [
      ...['train_lr', 'train_loss_itm', 'train_loss_ita'],
      ...recalls.map((key) => `val_${key}`),
      ...recalls.map((key) => `test_${key}`),
      ...['epoch', 'best_epoch'],
    ]);
    assert.match(lines[0] ?? '', /^{"train_lr": "0\.000", "train_loss_itm": "\d\.\d{3}"/);
  });

  await t.test('checkpoint_best.pth has the names and order of the reference', () => {
    const best = openCheckpoint(tiny.path('whole', 'checkpoint_best.pth'));
    const names = [...stateDictOf(best).keys()];
    const entries = stateDictEntries(tinyArchitecture);
    assert.deepEqual(
      names,
      entries.map(([name]) => name),
    );
    const { values } = flattenCheckpoint(best);
    assert.equal(values.get('optimizer/param_groups/0/weight_decay'), 0.05);
    assert.equal(values.get('optimizer/param_groups/0/params/258'), 258);
    assert.equal(values.get('config/batch_size_train'), 4);
  });

  await t.test('the evaluation of checkpoint_best.pth gives the recalls of its epoch', async () => {
    const best = tiny.path('whole', 'checkpoint_best.pth');
    const again = await tiny.run('again', '--evaluate', '--set', `pretrained=${best}`);
    assert.equal(again.code, 0, again.stderr);
    const evaluated = JSON.parse(tiny.read('again', 'evaluate.txt').toString());
    const lines = tiny
      .read('whole', 'log.txt')
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const line = lines.find(({ epoch }) => epoch === lines[1].best_epoch);
    for (const [key, value] of Object.entries(evaluated)) assert.equal(line[key], value, key);
  });

  for (const [signal, exit] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    await t.test(`${signal} saves at the next step and exits ${exit}; the resumed run ends the same`, async () => {
      const run = tiny.start(signal);
      await run.says('Train Epoch: [0]  [ 0/12]');
      run.kill(signal);
      const { code } = await run.ended;
      assert.equal(code, exit);
      assert.ok(existsSync(tiny.path(signal, 'checkpoint_last.pth')));
      const resumed = await tiny.run(signal, '--resume');
      assert.equal(resumed.code, 0, resumed.stderr);
      for (const name of ['log.txt', 'metrics.jsonl', 'checkpoint_last.pth'])
        assertSameResult(name, tiny.path(signal), tiny.path('whole'));
    });

  await t.test('Python reads checkpoint_best.pth with weights_only', (inner) => {
    const python = process.env.BLIP_TEST_PYTHON ?? 'python3';
    if (spawnSync(python, ['-c', 'import torch']).status !== 0)
      return inner.skip(`${python} has no torch: set BLIP_TEST_PYTHON to one that has`);
    const program = `import sys, torch
c = torch.load(sys.argv[1], weights_only=True)
p = [torch.nn.Parameter(v) for k, v in c['model'].items() if not k.endswith(('_queue', 'position_ids'))]
o = torch.optim.AdamW(p)
o.load_state_dict(c['optimizer'])
print(list(c), c['epoch'], len(o.state))`;
    const run = spawnSync(python, ['-c', program, tiny.path('whole', 'checkpoint_best.pth')], { encoding: 'utf8' });
    assert.match(run.stdout, /^\['model', 'optimizer', 'config', 'epoch'\] \d+ 131$/m, run.stderr);
  });
});

test('--max_steps ends early with a checkpoint that another run goes on from', async () => {
  const first = await tiny.run('short', '--max_steps', '5');
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /Stopped after 5 steps; checkpoint_last\.pth is saved/);
  const values = flattenCheckpoint(openCheckpoint(tiny.path('short', 'checkpoint_last.pth'))).values;
  assert.equal(values.get('resume/step'), 5);
  const other = await tiny.run('short', '--resume', 'latest', '--set', 'batch_size_train=6');
  assert.equal(other.code, 1);
  assert.match(other.stderr, /its run had batch_size 4, and this one has 6\. Resume with batch_size_train 4, or/);
});

test('wrong input ends with one sentence', async () => {
  const big = await tiny.run('big', '--set', 'batch_size_train=100');
  assert.equal(big.code, 1);
  assert.match(big.stderr, /48 rows.*fewer than one batch of 100/);
  const absent = await tiny.run('absent', '--resume', tiny.path('nothing.pth'));
  assert.equal(absent.code, 1);
  assert.match(absent.stderr, /nothing\.pth/);
  const hot = await tiny.run('hot', '--set', 'init_lr=1e30', '--max_steps', `${STEPS}`);
  assert.equal(hot.code, 1);
  assert.match(hot.stderr, /The loss is not finite .* in epoch 0, step \d+, rank 0, rows [\d, ]+ of the training file/);
});
