// What fine-tuning leaves behind is the reference's too: it loads checkpoint_best.pth and gives the scores that we give.
// Covers training/checkpoint.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { startOwn } from '#blip/bench/harness.js';
import { Reranked, Timed } from '#blip/bench/protocol.js';
import { readScores } from '#blip/bench/rerank.js';
import { startReference } from '#blip/bench/rivals.js';
import { compareScores } from '#blip/bench/statistics.js';
import { drawInputs } from '#blip/bench/workload.js';
import { temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyRun } from '../helpers/tiny-run.js';

const folder = temporaryFolder();

const { BLIP_REFERENCE: reference, BLIP_PYTHON: python = 'python3' } = process.env;

test('the reference evaluates a checkpoint of this program to the same scores', async (t) => {
  if (reference === undefined)
    return t.skip('set BLIP_REFERENCE to a checkout of salesforce/BLIP and BLIP_PYTHON to its Python');
  const config = await tinyRun(folder);
  const trained = await runCli([
    ...['--config', config, '--output_dir', folder, '--device', 'cpu', '--set', 'max_epoch=1', '--set', 'init_lr=1e-3'],
  ]);
  assert.equal(trained.code, 0, trained.stderr);

  const inputs = await drawInputs(folder, { image_size: 96, batch: 4, seed: 5 }, 12, 36);
  const scoresOf = async (checkpoint: string, by: 'own' | 'reference') => {
    const setting = { reference, python, threads: 1 };
    const worker = by === 'own' ? await startOwn(1) : await startReference(setting, folder);
    const scores = join(folder, `${by}.safetensors`);
    try {
      const model = { vit: 'tiny', image_size: 96, queue_size: 64, device: 'cpu', precision: 'fp32' } as const;
      await worker.ask({ op: 'load', ...model, checkpoint }, Timed);
      await worker.ask({ op: 'rerank', ...inputs, k: 10, scores }, Reranked);
    } finally {
      await worker.close();
    }
    return readScores(scores);
  };
  const best = join(folder, 'checkpoint_best.pth');
  const own = await scoresOf(best, 'own');
  const theirs = await scoresOf(best, 'reference');
  const { both, one, maxDifference } = compareScores([own.i2t, theirs.i2t], [own.t2i, theirs.t2i]);
  assert.deepEqual([both, one], [(12 + 36) * 10, 0]);
  assert.ok(maxDifference < 1e-4, `scores differ by ${maxDifference}`);
  // The comparison would mean nothing if both had ignored what was trained.
  const untrained = await scoresOf(join(folder, 'rule_tiny.pth'), 'own');
  assert.ok(compareScores([own.i2t, untrained.i2t]).maxDifference > 1e-2, 'training has changed the scores');
});
