// Fine-tuning as a user runs it: files as the reference's, an exact resume after signals, bad input.
// Kills that nobody can catch are in test/faults.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { flattenCheckpoint, openCheckpoint, stateDictOf } from '#blip/torch/checkpoint/index.js';
import { startCommand } from '../helpers/command.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyArchitecture, tinyRun } from '../helpers/tiny-run.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-train-'));
const config = join(folder, 'train.yaml');
const env = { OMP_NUM_THREADS: '1' };
const STEPS = 12; // 48 rows in batches of 4

before(async () => {
  await tinyRun(folder);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const argumentsFor = (output: string, ...more: string[]) => [
  '--config',
  config,
  '--output_dir',
  join(folder, output),
  '--device',
  'cpu',
  ...more,
];

/** Bytes of a checkpoint that do not depend on when or how often it was written. */
const bytesOf = (output: string, name: string) => readFileSync(join(folder, output, name));

test('a run writes the files of the reference, and ends of other runs are bit-equal to its own', async (t) => {
  const whole = await runCli(argumentsFor('whole', '--save_every', '3'), env);
  assert.equal(whole.code, 0, whole.stderr);
  assert.match(
    whole.stdout,
    /^Train Epoch: \[1\] {2}\[ 0\/12\] {2}eta: .* lr: 0\.000050 {2}loss_itm: .* {2}loss_ita: /m,
  );
  assert.match(whole.stdout, /^Averaged stats: lr: 0\.0001 {2}loss_itm: /m);

  await t.test('log.txt has the keys of the reference, in its order', () => {
    const lines = bytesOf('whole', 'log.txt').toString().trimEnd().split('\n');
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
    const best = openCheckpoint(join(folder, 'whole', 'checkpoint_best.pth'));
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
    const args = argumentsFor(
      'again',
      '--evaluate',
      '--set',
      `pretrained=${join(folder, 'whole', 'checkpoint_best.pth')}`,
    );
    const again = await runCli(args, env);
    assert.equal(again.code, 0, again.stderr);
    const evaluated = JSON.parse(bytesOf('again', 'evaluate.txt').toString());
    const lines = bytesOf('whole', 'log.txt')
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const best = lines.find(({ epoch }) => epoch === lines[1].best_epoch);
    for (const [key, value] of Object.entries(evaluated)) assert.equal(best[key], value, key);
  });

  for (const [signal, exit] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    await t.test(`${signal} saves at the next step and exits ${exit}; the resumed run ends the same`, async () => {
      const args = argumentsFor(signal);
      const run = startCommand(args);
      await run.says('Train Epoch: [0]  [ 0/12]');
      run.kill(signal);
      const { code } = await run.ended;
      assert.equal(code, exit);
      assert.ok(existsSync(join(folder, signal, 'checkpoint_last.pth')));
      const resumed = await runCli([...args, '--resume'], env);
      assert.equal(resumed.code, 0, resumed.stderr);
      for (const name of ['log.txt', 'metrics.jsonl', 'checkpoint_last.pth'])
        assert.ok(bytesOf(signal, name).equals(bytesOf('whole', name)), `${name} differs`);
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
    const run = spawnSync(python, ['-c', program, join(folder, 'whole', 'checkpoint_best.pth')], { encoding: 'utf8' });
    assert.match(run.stdout, /^\['model', 'optimizer', 'config', 'epoch'\] \d+ 131$/m, run.stderr);
  });
});

test('--max_steps ends early with a checkpoint that another run goes on from', async () => {
  const first = await runCli(argumentsFor('short', '--max_steps', '5'), env);
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /Stopped after 5 steps; checkpoint_last\.pth is saved/);
  const values = flattenCheckpoint(openCheckpoint(join(folder, 'short', 'checkpoint_last.pth'))).values;
  assert.equal(values.get('resume/step'), 5);
  const other = await runCli(argumentsFor('short', '--resume', 'latest', '--set', 'batch_size_train=6'), env);
  assert.equal(other.code, 1);
  assert.match(other.stderr, /its run had batch_size 4, this one has 6/);
});

test('wrong input ends with one sentence', async () => {
  const big = await runCli(argumentsFor('big', '--set', 'batch_size_train=100'), env);
  assert.equal(big.code, 1);
  assert.match(big.stderr, /48 rows.*fewer than one batch of 100/);
  const absent = await runCli(argumentsFor('absent', '--resume', join(folder, 'nothing.pth')), env);
  assert.equal(absent.code, 1);
  assert.match(absent.stderr, /nothing\.pth/);
  const hot = await runCli(argumentsFor('hot', '--set', 'init_lr=1e30', '--max_steps', `${STEPS}`), env);
  assert.equal(hot.code, 1);
  assert.match(hot.stderr, /The loss is not finite .* in epoch 0, step \d+, rank 0, rows [\d, ]+ of the training file/);
});
