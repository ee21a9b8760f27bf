// The reference's side of bench: what a user reads when something is lacking, and its work where there is a checkout.
// Covers bench/rerank, train.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkpointOf } from '#blip/bench/harness.js';
import { Reranked, Timed, Trained } from '#blip/bench/protocol.js';
import { readScores } from '#blip/bench/rerank.js';
import { startReference } from '#blip/bench/rivals.js';
import { drawCaptions, drawInputs } from '#blip/bench/workload.js';
import { UserError } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

const folder = temporaryFolder();

const { BLIP_REFERENCE: checkout, BLIP_PYTHON: python = 'python3' } = process.env;
const setting = { reference: join(projectRoot, 'bench'), python, threads: 1 };
const failsWith = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof UserError, String(error));
  assert.match(error.message, pattern);
  return true;
};

test('a folder that does not exist', async () => {
  const reference = join(folder, 'absent');
  await assert.rejects(
    startReference({ ...setting, reference }, folder),
    failsWith(/--reference does not exist\. Clone https/),
  );
});

test('a Python that does not exist', async () => {
  await assert.rejects(
    startReference({ ...setting, python: join(folder, 'python9') }, folder),
    failsWith(/cannot be started: .*ENOENT/),
  );
});

test('a folder that is not a checkout of BLIP', async (t) => {
  if (spawnSync(python, ['--version']).status !== 0) return t.skip(`there is no ${python}`);
  await assert.rejects(
    startReference(setting, folder),
    failsWith(/is not a complete checkout of salesforce\/BLIP: train_retrieval\.py, .* missing/),
  );
});

test('features, scores, times and memory of a tiny model, and the checkout stays as it is', async (t) => {
  if (checkout === undefined)
    return t.skip('set BLIP_REFERENCE to a checkout of salesforce/BLIP and BLIP_PYTHON to its Python');
  const before = readdirSync(checkout, { recursive: true }).sort();
  const reference = { ...setting, reference: checkout, threads: 2 };
  const model = { vit: 'tiny', image_size: 96, queue_size: 64, checkpoint: join(folder, 'drawn.pth') } as const;
  await checkpointOf({ vit: 'tiny', image_size: 96, queue_size: 64 }, folder);
  const worker = await startReference(reference, folder);
  try {
    assert.equal(worker.hello.threads, 2);
    await worker.ask({ op: 'load', ...model, device: 'cpu', precision: 'fp32' }, Timed);
    const inputs = await drawInputs(folder, { image_size: 96, batch: 2, seed: 3 }, 5, 12);
    const scores = join(folder, 'scores.safetensors');
    const { seconds, memory } = await worker.ask({ op: 'rerank', ...inputs, k: 4, scores }, Reranked);
    assert.ok(seconds.features > 0 && seconds.rerank > 0 && memory.peak_bytes > 2 ** 26);
    const { i2t, t2i } = readScores(scores);
    assert.deepEqual([i2t.length, t2i.length], [60, 60]);
    assert.equal(i2t.filter((score) => score > -100).length, 5 * 4);
    assert.equal(t2i.filter((score) => score > -100).length, 12 * 4);
    await worker.ask({ op: 'load_training', ...model, device: 'cpu', precision: 'fp32', vit_ckpt_layer: 1 }, Timed);
    const trained = await worker.ask({ op: 'train', ...inputs, captions: drawCaptions(5, 3) }, Trained);
    assert.deepEqual([trained.seconds.length, trained.loss_itm.length, trained.loss_ita.length], [2, 2, 2]);
    assert.ok((await worker.ask({ op: 'open', checkpoint: model.checkpoint }, Timed)).seconds > 0);
    assert.ok((await worker.ask({ op: 'overhead', calls: 10 }, Timed)).seconds > 0);
    await assert.rejects(
      worker.ask(
        { op: 'load', ...model, checkpoint: join(folder, 'absent.pth'), device: 'cpu', precision: 'fp32' },
        Timed,
      ),
      failsWith(/salesforce\/BLIP .* failed: RuntimeError/),
    );
  } finally {
    await worker.close();
  }
  assert.deepEqual(readdirSync(checkout, { recursive: true }).sort(), before);
});
