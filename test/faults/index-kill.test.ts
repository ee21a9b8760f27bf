// Indexing and syncing killed by -9, a few times; `npm run test:trials` does it fifty times.
// Covers index/folder-store, index/sync, retriever/indexes.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../helpers/files.js';
import { tinyCheckpoint, tinyData } from '../helpers/tiny-run.js';
import { runIndexKillTrials } from './trials/index-kill.js';
import { faults, trialSeed } from './trials/trial.js';

const folder = temporaryFolder();
const seed = trialSeed();

test('an index whose writer was killed opens and is completed', async (t) => {
  t.diagnostic(`BLIP_TRIAL_SEED=${seed}`);
  const checkpoint = await tinyCheckpoint(folder);
  const photos = join(tinyData, 'images/val');
  assert.deepEqual(faults(await runIndexKillTrials({ trials: 5, seed, folder, checkpoint, photos })), []);
});
