// Kills, stops and full disks, a few of each with a new seed every time; `npm run test:trials` does many.
// Covers training/checkpoint, resume, run-logs, disk/atomic-file, distributed/launcher, failures.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { startCommand } from '../helpers/command.js';
import { temporaryFolder } from '../helpers/files.js';
import { fewEvaluated, tinyRun } from '../helpers/tiny-run.js';
import { runDiskTrials } from './trials/full-disk.js';
import { runKillTrials } from './trials/kill.js';
import { runLostRankTrials } from './trials/lost-rank.js';
import { runSavingTrials } from './trials/saving.js';
import { faults, trialSeed } from './trials/trial.js';

const root = temporaryFolder();
let config = '';
before(async () => {
  config = await tinyRun(root, { ann_root: fewEvaluated(root) });
});

const seed = trialSeed();

function folder(name: string): string {
  const path = join(root, name);
  mkdirSync(path);
  return path;
}

test('runs killed by -9 and resumed end bit-equal to those never killed', async (t) => {
  t.diagnostic(`BLIP_TRIAL_SEED=${seed}`);
  assert.deepEqual(faults(await runKillTrials({ trials: 2, seed, folder: folder('kill'), config })), []);
});

test('a process killed while it saves leaves whole checkpoints, and its temporary files do not pile up', async (t) => {
  t.diagnostic(`BLIP_TRIAL_SEED=${seed}`);
  assert.deepEqual(faults(await runSavingTrials({ trials: 6, seed, folder: folder('saving') })), []);
});

test('a rank killed or stopped ends the whole command, which names it', async (t) => {
  t.diagnostic(`BLIP_TRIAL_SEED=${seed}`);
  assert.deepEqual(faults(await runLostRankTrials({ trials: 2, seed, folder: folder('lost'), config })), []);
});

test('a full disk ends a run with one sentence and leaves the last checkpoint as it was', async () => {
  assert.deepEqual(faults(await runDiskTrials({ folder: folder('disk'), config, all: false })), []);
});

test('the launcher of a single rank, killed by -9, leaves no process behind', async () => {
  const command = startCommand([
    ...['--max_restarts', '1', '--config', config, '--output_dir', folder('single'), '--device', 'cpu'],
    ...['--set', 'max_epoch=1000'],
  ]);
  await command.says('Start training');
  command.kill('SIGKILL');
  await command.gone();
});
