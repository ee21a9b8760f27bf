// Fine-tuning as a user runs it: files as the reference's, an exact resume after kill -9 and after signals, bad input.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { architectureOf } from '#blip/model/architecture.js';
import { modelEntries } from '#blip/model/entries.js';
import { ruleWeights } from '#blip/model/rule-weights.js';
import { flattenCheckpoint, openCheckpoint, stateDictOf } from '#blip/torch/checkpoint/read.js';
import { writeCheckpoint } from '#blip/torch/checkpoint/write.js';
import { fixture } from '../helpers/fixtures.js';
import { cliPath, runCli } from '../helpers/run-cli.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-train-'));
const checkpoint = join(folder, 'rule_tiny.pth');
const config = join(folder, 'train.yaml');
const data = fixture('rule_tiny/data') as string;
const env = { OMP_NUM_THREADS: '1' };
const STEPS = 12; // 48 rows in batches of 4

before(async () => {
  const entries = modelEntries(architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} }));
  const state = ruleWeights(entries, { scale: 0.15 });
  const tensors = new Map(
    entries.map(([name, shape, dtype]) => [name, { dtype, shape, data: state.get(name)?.bytes() ?? new Uint8Array() }]),
  );
  await writeCheckpoint(checkpoint, { model: tensors });
  writeFileSync(
    config,
    `image_root: ${JSON.stringify(join(data, 'images'))}
ann_root: ${JSON.stringify(join(data, 'annotation'))}
dataset: coco
pretrained: ${JSON.stringify(checkpoint)}
vit: tiny
image_size: 96
batch_size_train: 4
batch_size_test: 8
vit_grad_ckpt: True
vit_ckpt_layer: 1
queue_size: 64
alpha: 0.4
k_test: 8
negative_all_rank: True
init_lr: 1e-4
weight_decay: 0.05
min_lr: 0
max_epoch: 2
`,
  );
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

/** Starts a run and calls `act` when its metrics have reached `lines` lines. */
function interrupt(args: string[], marker: RegExp, act: (child: ChildProcess) => void): Promise<number | null> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [cliPath, ...args], { env: { ...process.env, ...env } });
    let seen = '';
    let done = false;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
      if (!done && marker.test(seen)) {
        done = true;
        act(child);
      }
    });
    child.on('close', (code) => resolve(code));
  });
}

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
    const entries = modelEntries(architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} }));
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

  await t.test('killed with -9 in the middle of an epoch and resumed: the same log and the same weights', async () => {
    const args = argumentsFor('killed', '--save_every', '3');
    const code = await interrupt(args, /Train Epoch: \[1\] {2}\[ 0\/12\]/, (child) => child.kill('SIGKILL'));
    assert.equal(code, null);
    const resumed = await runCli([...args, '--resume', 'latest'], env);
    assert.equal(resumed.code, 0, resumed.stderr);
    assert.match(resumed.stdout, /Resuming .*checkpoint_last\.pth in epoch [01] after step (3|6|9|12)\b/);
    for (const name of ['log.txt', 'metrics.jsonl', 'checkpoint_last.pth', 'checkpoint_best.pth'])
      assert.ok(bytesOf('killed', name).equals(bytesOf('whole', name)), `${name} differs`);
  });

  for (const [signal, exit] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    await t.test(`${signal} saves at the next step and exits ${exit}; the resumed run ends the same`, async () => {
      const args = argumentsFor(signal);
      const code = await interrupt(args, /Train Epoch: \[0\] {2}\[ 0\/12\]/, (child) => child.kill(signal));
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
  assert.match(hot.stderr, /the loss is not finite .* in epoch 0, step \d+, rank 0, rows [\d, ]+ of the training file/);
});
