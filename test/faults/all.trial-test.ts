// The fault trials in full, one line each and a sum of every kind: what docs/faults.md records. About ten minutes.
// Covers training/checkpoint, resume, run-logs, disk/atomic-file, distributed/launcher, failures, index/folder-store, sync.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { temporaryFolder } from '../helpers/files.js';
import { tinyCheckpoint, tinyData, tinyRun } from '../helpers/tiny-run.js';
import { runDiskTrials } from './trials/full-disk.js';
import { runIndexKillTrials } from './trials/index-kill.js';
import { runKillTrials } from './trials/kill.js';
import { runLostRankTrials } from './trials/lost-rank.js';
import { runMachineTrials } from './trials/machines.js';
import { runSavingTrials } from './trials/saving.js';
import { faults, summaryLine, type Trial, type TrialOptions, trialLine, trialSeed } from './trials/trial.js';

const root = temporaryFolder();
let config = '';
before(async () => {
  config = await tinyRun(root);
  console.log(`BLIP_TRIAL_SEED=${seed} draws the same again.`);
});
const sums: string[] = [];
after(() => console.log(sums.join('\n')));

const seed = trialSeed();

const kinds: [name: string, run: (options: Omit<TrialOptions, 'trials'>) => Promise<Trial[]>][] = [
  ['30 runs killed by -9', (options) => runKillTrials({ ...options, trials: 30 })],
  ['200 saves killed by -9', (options) => runSavingTrials({ ...options, trials: 200 })],
  ['20 ranks killed or stopped', (options) => runLostRankTrials({ ...options, trials: 20 })],
  ['full disks', (options) => runDiskTrials({ ...options, all: true })],
  ['two machines', runMachineTrials],
  [
    '50 indexings and syncs killed by -9',
    async (options) => {
      const checkpoint = await tinyCheckpoint(options.folder);
      return runIndexKillTrials({ ...options, trials: 50, checkpoint, photos: join(tinyData, 'images/val') });
    },
  ],
];

for (const [name, run] of kinds)
  test(name, async () => {
    const folder = join(root, name.replaceAll(' ', '-'));
    mkdirSync(folder);
    const trials = await run({ seed, folder, config, report: (trial) => console.log(trialLine(trial)) });
    sums.push(summaryLine(trials));
    assert.deepEqual(faults(trials), []);
  });
