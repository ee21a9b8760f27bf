// Several processes through the command line: the recalls of one process, training that resumes exactly, failures that end.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { architectureOf } from '#blip/model/architecture.js';
import { modelEntries } from '#blip/model/entries.js';
import { ruleWeights } from '#blip/model/rule-weights.js';
import { writeCheckpoint } from '#blip/torch/checkpoint/write.js';
import { fixture } from '../helpers/fixtures.js';
import { cliPath, runCli } from '../helpers/run-cli.js';
import { readJson } from '../helpers/tensors.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-several-'));
const config = join(folder, 'config.yaml');
const data = fixture('rule_tiny/data') as string;

before(async () => {
  const checkpoint = join(folder, 'rule_tiny.pth');
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
vit_grad_ckpt: False
vit_ckpt_layer: 0
queue_size: 60
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
  ...['--nproc_per_node', '2', '--config', config, '--output_dir', join(folder, output), '--device', 'cpu'],
  ...more,
];

test('two processes evaluate to the recalls of the reference', async () => {
  const { code, stdout, stderr } = await runCli(argumentsFor('evaluated', '--evaluate'));
  assert.equal(code, 0, stderr);
  const { metrics } = readJson<{ metrics: Record<'val' | 'test', Record<string, number>> }>(
    fixture('rule_tiny/eval.json') as string,
  );
  const found = readJson<Record<string, number>>(join(folder, 'evaluated', 'evaluate.txt'));
  for (const split of ['val', 'test'] as const)
    for (const [key, value] of Object.entries(metrics[split])) assert.equal(found[`${split}_${key}`], value, key);
  assert.equal(stdout.match(/Recall in percent/g)?.length, 1, 'rank 0 alone prints');
});

test('two processes train; killed with -9 and resumed they end the same, bit for bit', async () => {
  const whole = await runCli(argumentsFor('whole', '--save_every', '2'));
  assert.equal(whole.code, 0, whole.stderr);
  assert.match(whole.stdout, /^Train Epoch: \[1\] {2}\[0\/6\]/m); // 48 rows, 4 on each of 2 ranks

  // A process group of its own, so that nothing of it survives the kill.
  const args = argumentsFor('killed', '--save_every', '2');
  const killed = spawn(process.execPath, [cliPath, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise<void>((resolve) => {
    let seen = '';
    killed.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
      if (/Train Epoch: \[1\] {2}\[0\/6\]/.test(seen)) killed.kill('SIGKILL');
    });
    killed.on('close', () => resolve());
  });
  const resumed = await runCli([...args, '--resume', 'latest']);
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.match(resumed.stdout, /^Resuming .* in epoch [01] after step [246]$/m);
  for (const name of ['log.txt', 'metrics.jsonl', 'checkpoint_last.pth', 'checkpoint_best.pth']) {
    const [a, b] = ['whole', 'killed'].map((output) => readFileSync(join(folder, output, name)));
    assert.ok(a && b?.equals(a), `${name} differs`);
  }
});

test('a rank that is killed is started again, and the run goes on from its last save to the same end', async () => {
  const args = argumentsFor('restarted', '--save_every', '2', '--max_restarts', '1');
  const run = spawn(process.execPath, [cliPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [seen, said, done] = ['', '', false];
  run.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const code = await new Promise((resolve) => {
    run.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
      if (done || !/Train Epoch: \[1\] {2}\[0\/6\]/.test(seen)) return;
      done = true;
      const ranks = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, 'utf8').trim().split(' ').map(Number);
      process.kill(ranks[1] ?? 0, 'SIGKILL');
    });
    run.on('close', resolve);
  });
  assert.equal(code, 0, said);
  assert.match(said, /Starting the ranks again \(1 of at most 1 restarts\)/);
  assert.match(seen, /^Resuming .*checkpoint_last\.pth in epoch [01] after step [246]$/m);
  for (const name of ['log.txt', 'metrics.jsonl', 'checkpoint_last.pth', 'checkpoint_best.pth']) {
    const [a, b] = ['whole', 'restarted'].map((output) => readFileSync(join(folder, output, name)));
    assert.ok(a && b?.equals(a), `${name} differs`);
  }
});

test('another number of processes cannot resume a run, and says so', async () => {
  const one = await runCli([
    ...['--config', config, '--output_dir', join(folder, 'whole'), '--device', 'cpu', '--resume', 'latest'],
  ]);
  assert.equal(one.code, 1);
  assert.match(one.stderr, /its run had world_size 2, this one has 1/);
});
