// This program's side of bench, in its own process: the same protocol as the reference's, and errors that are sentences.
// Covers bench/own-runner, own-work, own-train, matrices, drawn-weights.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { checkpointOf, startOwn, type Worker } from '#blip/bench/harness.js';
import type { Inputs } from '#blip/bench/protocol.js';
import { Reranked, Timed, Trained } from '#blip/bench/protocol.js';
import { readScores } from '#blip/bench/rerank.js';
import { drawCaptions, drawInputs } from '#blip/bench/workload.js';
import { UserError } from '#blip/errors.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-test-own-'));
const model = { vit: 'tiny', image_size: 96, queue_size: 64, checkpoint: join(folder, 'drawn.pth') } as const;
let inputs: Inputs;
let worker: Worker;

before(async () => {
  assert.equal(await checkpointOf({ vit: 'tiny', image_size: 96, queue_size: 64 }, folder), model.checkpoint);
  inputs = await drawInputs(folder, { image_size: 96, batch: 1, seed: 3 }, 6, 18);
  worker = await startOwn(1);
});
after(async () => {
  await worker.close();
  rmSync(folder, { recursive: true });
});

const work = (name: string, batch: number) => ({
  ...inputs,
  op: 'rerank' as const,
  k: 4,
  batch,
  scores: join(folder, name),
});

test('re-ranking without a model, and with a checkpoint that is not there', async () => {
  await assert.rejects(
    worker.ask(work('none', 2), Reranked),
    (error) => error instanceof UserError && /Load a model/.test(error.message),
  );
  const absent = { ...model, checkpoint: join(folder, 'absent.pth') };
  await assert.rejects(
    worker.ask({ op: 'load', ...absent, device: 'cpu', precision: 'fp32' }, Timed),
    (error) => error instanceof UserError && /absent\.pth/.test(error.message),
  );
});

test('scores of the k best in both directions, whatever the batch', async () => {
  await worker.ask({ op: 'load', ...model, device: 'cpu', precision: 'fp32' }, Timed);
  const { memory } = await worker.ask(work('two', 2), Reranked);
  assert.ok(memory.peak_bytes > 2 ** 25 && memory.device_peak_bytes === undefined);
  await worker.ask(work('five', 5), Reranked);
  const [two, five] = [readScores(join(folder, 'two')), readScores(join(folder, 'five'))];
  assert.equal(two.i2t.filter((score) => score > -100).length, 6 * 4);
  assert.equal(two.t2i.filter((score) => score > -100).length, 18 * 4);
  for (const [i, score] of two.i2t.entries()) assert.ok(Math.abs(score - (five.i2t[i] ?? 0)) < 1e-4);
  const spread = two.t2i.filter((score) => score > -100);
  assert.ok(Math.max(...spread) - Math.min(...spread) > 0.1, 'the drawn weights tell pairs apart');
});

test('training without a model for it', async () => {
  await assert.rejects(
    worker.ask({ op: 'train', ...inputs }, Trained),
    (error) => error instanceof UserError && /Load a model for training/.test(error.message),
  );
});

test('steps of training: as many as there are full batches, from the same weights with the same losses', async () => {
  const setting = { op: 'load_training', ...model, device: 'cpu', precision: 'fp32', vit_ckpt_layer: 1 } as const;
  const turn = async () => {
    await worker.ask(setting, Timed);
    return await worker.ask({ op: 'train', ...inputs, captions: drawCaptions(6, 3), batch: 4 }, Trained);
  };
  const [first, again] = [await turn(), await turn()];
  assert.equal(first.seconds.length, 1);
  assert.deepEqual([first.loss_itm, first.loss_ita], [again.loss_itm, again.loss_ita]);
  assert.ok(first.loss_itm.every((loss) => loss > 0.1 && loss < 3) && first.loss_ita.every((loss) => loss > 1));
});

test('opening, one operator', async () => {
  assert.ok((await worker.ask({ op: 'open', checkpoint: model.checkpoint }, Timed)).seconds > 0);
  assert.ok((await worker.ask({ op: 'overhead', calls: 100 }, Timed)).seconds > 0);
});
