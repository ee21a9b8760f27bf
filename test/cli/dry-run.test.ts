// --dry_run: memory and time are printed, nothing is written, and what cannot fit is refused before anything is allocated.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { before, test } from 'node:test';
import { cliPath } from '../helpers/run-cli.js';
import { runNodeWith } from '../helpers/run-node.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';
import { unwrapped } from '../helpers/unwrapped.js';

const tiny = new TinyRuns({ few: true });
const options = { skip: tinyData === undefined ? 'no fixtures' : false };
before(() => tiny.write());

const lines = (stdout: string) => stdout.slice(stdout.indexOf('Dry run')).trimEnd().split('\n');

test('an evaluation: memory, time of both splits, and no output folder', options, async () => {
  const { code, stdout, stderr } = await tiny.run('absent', '--evaluate', '--dry_run', '--quiet');
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /^Dry run of an evaluation on \S+, fp32\. Nothing was written\.\n/);
  for (const line of [/kept features of images +\d/, /in all +\S+ [kMG]?B/, /available/, /val: features of \d+ images/])
    assert.match(stdout, line);
  for (const line of [/test: re-ranking of about \d+ pairs/, /until the model is loaded/, /measured on \d+ images/])
    assert.match(stdout, line);
  assert.ok(!existsSync(tiny.path('absent')));
  for (const line of lines(stdout)) assert.ok(line.length <= 80, line);
});

/** A terminal of 60 columns for a program that a test starts: util-linux's `script`. */
const inTerminal = `
  const { spawnSync } = require('node:child_process');
  const quoted = process.argv.slice(1).map((word) => "'" + word + "'").join(' ');
  spawnSync('script', ['-qec', 'stty cols 60; ' + quoted, '/dev/null'], { stdio: ['ignore', 'inherit', 'inherit'] });`;

test('on a terminal of 60 columns the last phase has ended before the first line, and nothing wraps', async (t) => {
  if (tinyData === undefined) return t.skip('no fixtures');
  if (spawnSync('script', ['--version']).error !== undefined) return t.skip('there is no `script`');
  const args = [process.execPath, cliPath, ...tiny.args('absent', '--evaluate', '--dry_run')];
  const env = { ...process.env, TERM: 'xterm', OMP_NUM_THREADS: '1' };
  const { stdout } = await runNodeWith(['-e', inTerminal, ...args], { env });
  const shown = unwrapped(stdout)
    .split('\n')
    .map((line) => (line.split('\x1b[2K').at(-1) ?? '').replaceAll('\r', ''));
  assert.ok(shown.includes('Dry run of an evaluation on cpu, fp32. Nothing was written.'), stdout);
  assert.ok(
    shown.some((line) => /^Measuring +\d/.test(line)),
    stdout,
  );
  for (const line of shown) assert.ok(line.length < 60 || line.startsWith('load checkpoint'), line);
});

test('training: steps, epochs, disk, the largest batch; an existing folder stays as it is', options, async () => {
  await tiny.run('there', '--max_steps', '1');
  const files = readdirSync(tiny.path('there'));
  const config = tiny.read('there', 'config.yaml');
  const last = tiny.read('there', 'checkpoint_last.pth');
  const { code, stdout } = await tiny.run('there', '--dry_run', '--set', 'max_epoch=5');
  assert.equal(code, 0);
  assert.match(stdout, /in all: 60 steps, 5 evaluations/);
  assert.match(stdout, /an epoch of 12 steps, evaluated/);
  assert.match(stdout, /largest batch_size_train that fits +(\d+|any)/);
  assert.match(stdout, /checkpoints, three at a time/);
  assert.match(stdout, /Steps: measured with batches of 2, 4(, 16)?\./); // where a step of 4 is quick
  assert.deepEqual(readdirSync(tiny.path('there')), files);
  assert.deepEqual([tiny.read('there', 'config.yaml'), tiny.read('there', 'checkpoint_last.pth')], [config, last]);
  for (const line of lines(stdout)) assert.ok(line.length <= 80, line);

  const resumed = await tiny.run('there', '--dry_run', '--resume', 'latest', '--quiet');
  assert.equal(resumed.code, 0);
  assert.match(resumed.stdout, /in all: 23 steps, 2 evaluations/);
});

test('of a model whose steps are quick the largest batch is not a guess from two small ones', options, async () => {
  // A row takes some megabytes, of which there are thousands: more rows than the split has.
  const { code, stdout } = await tiny.run('absent', '--dry_run', '--set', 'batch_size_train=32', '--quiet');
  assert.equal(code, 0);
  assert.match(stdout, /largest batch_size_train that fits +any\n/);
});

test('an output folder into which a run could not write is refused', options, async () => {
  for (const flags of [[], ['--evaluate']]) {
    const { code, stderr } = await tiny.run('train.yaml/out', '--dry_run', ...flags);
    assert.equal(code, 1);
    assert.match(stderr, /^error: \/.*train\.yaml is a file where a folder is to be\. Choose another folder/);
  }
});

test('several processes are planned for by one', options, async () => {
  const { code, stdout } = await tiny.run('absent', '--dry_run', '--nproc_per_node', '2', '--quiet');
  assert.equal(code, 0);
  assert.match(stdout, /Measured in one process; planned for 2, without their exchanges\./);
  assert.match(stdout, /memory of each process/);
  assert.match(stdout, /an epoch of 6 steps/);
  assert.ok(!existsSync(tiny.path('absent')));
});

test('a mistake of the config, of the data or of the checkpoint is found as in a run', options, async () => {
  const wrong = await tiny.run('absent', '--dry_run', '--set', 'batch_size_train=100');
  assert.notEqual(wrong.code, 0);
  assert.match(wrong.stderr, /fewer than one batch of 100/);
  const other = await tiny.run('absent', '--evaluate', '--dry_run', '--set', 'vit=base');
  assert.notEqual(other.code, 0);
  assert.ok(!existsSync(tiny.path('absent')));
});

const huge = ['vit=large', 'image_size=4096', 'batch_size_train=48', 'pretrained='].flatMap((value) => [
  '--set',
  value,
]);

test('a batch of terabytes is refused at once, by a dry run and by a run', options, async () => {
  for (const flags of [['--dry_run'], []]) {
    const { code, stderr } = await tiny.run('huge', ...huge, ...flags);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: Training with batch_size_train 48 at image_size 4096 needs (more than|about) \S+ TB of memory/,
    );
    assert.match(stderr, /(largest (batch_size_train|image_size) that fits is about \d+|no image_size fits)/);
  }
});

test('a run says what memory it needs', options, async () => {
  const { stdout } = await tiny.run('line', '--max_steps', '1');
  assert.match(
    stdout,
    /^Memory: about \S+ MB for batches of 4; \S+ GB is available \(--dry_run measures it, and the time\)\.$/m,
  );
});
