// Several processes through the command line: the recalls of one process, training, ranks that are started again.
// Kills that end a run are in test/faults.
// Covers commands/launch, distributed/launcher, training/train and resume on several ranks.
import assert from 'node:assert/strict';
import { mkdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { startCommand } from '../helpers/command.js';
import { testDevice } from '../helpers/device.js';
import { fixture } from '../helpers/fixtures.js';
import { freePort, rankVariables } from '../helpers/ranks.js';
import { runCli } from '../helpers/run-cli.js';
import { assertSameResult, RESULTS } from '../helpers/same-results.js';
import { readJson } from '../helpers/tensors.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({
  changes: { queue_size: 60, vit_grad_ckpt: false, vit_ckpt_layer: 0 },
  flags: ['--nproc_per_node', '2'],
  few: true,
});
before(() => tiny.write());

test('two processes evaluate to the recalls of the reference', async () => {
  const { code, stdout, stderr } = await tiny.run(
    'evaluated',
    '--evaluate',
    '--set',
    `ann_root=${join(tinyData, 'annotation')}`,
  );
  assert.equal(code, 0, stderr);
  const { metrics } = readJson<{ metrics: Record<'val' | 'test', Record<string, number>> }>(
    fixture('rule_tiny/eval.json') as string,
  );
  const found = readJson<Record<string, number>>(tiny.path('evaluated', 'evaluate.txt'));
  for (const split of ['val', 'test'] as const)
    for (const [key, value] of Object.entries(metrics[split])) assert.equal(found[`${split}_${key}`], value, key);
  assert.equal(stdout.match(/Recall in percent/g)?.length, 1, 'rank 0 alone prints');
});

test('two processes train', async () => {
  const whole = await tiny.run('whole', '--save_every', '2');
  assert.equal(whole.code, 0, whole.stderr);
  assert.match(whole.stdout, /^Train Epoch: \[1\] {2}\[0\/6\]/m); // 48 rows, 4 on each of 2 ranks
});

test('a rank that is killed is started again, and the run goes on from its last save to the same end', async () => {
  const run = tiny.start('restarted', '--save_every', '2', '--max_restarts', '1');
  const rank = await run.rank(1); // looked for beforehand, so that the run is not over by then
  await run.says('Train Epoch: [1]  [0/6]');
  process.kill(rank, 'SIGKILL');
  const { code, stdout: seen, stderr: said } = await run.ended;
  assert.equal(code, 0, said);
  assert.match(said, /Starting the ranks again \(1 of at most 1 restarts\)/);
  assert.match(seen, /^Resuming .*checkpoint_last\.pth in epoch [01] after step [246]\.$/m);
  for (const name of RESULTS) assertSameResult(name, tiny.path('whole'), tiny.path('restarted'));
});

test('after SIGTERM a rank does not wait for one that is gone', { timeout: 120_000 }, async (t) => {
  const output = tiny.path('left');
  mkdirSync(output);
  const port = await freePort();
  const [first, second] = [0, 1].map((rank) =>
    startCommand(
      ['--config', tiny.config, '--output_dir', output, '--device', testDevice, '--set', 'batch_size_train=1'],
      ['env', ...Object.entries(rankVariables(rank, port)).map(([name, value]) => `${name}=${value}`)],
    ),
  );
  assert.ok(first && second);
  t.after(() => first.kill('SIGKILL'));
  await first.says('Train Epoch: [0]');
  // Rank 0 saves when the ranks have exchanged all there is: from there on nothing breaks when the other one is gone.
  const watcher = watch(output, (_event, name) => {
    if (name?.endsWith('.tmp')) second.kill('SIGKILL');
  });
  first.kill('SIGTERM');
  const { code, stdout, stderr } = await first.ended;
  watcher.close();
  assert.equal(code, 143, stderr);
  assert.match(stdout, /^Stopped by SIGTERM after \d+ steps?; checkpoint_last\.pth is saved/m);
  assert.equal((await second.ended).signal, 'SIGKILL');
});

test('another number of processes cannot resume a run, and says so', async () => {
  const one = await runCli([
    ...['--config', tiny.config, '--output_dir', tiny.path('whole'), '--device', testDevice, '--resume', 'latest'],
  ]);
  assert.equal(one.code, 1);
  assert.match(one.stderr, /its run had world_size 2, and this one has 1\. Resume with 2 processes, or/);
});
