// What `bench` measures against beside the reference: transformers, where its Python is there, and this program's float32.
// Covers bench/rivals.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkpointOf } from '#blip/bench/harness.js';
import { printRerank, printTrain } from '#blip/bench/print.js';
import { benchRerank } from '#blip/bench/rerank.js';
import { huggingFaceFolder, startTransformers } from '#blip/bench/rivals.js';
import { benchTrain } from '#blip/bench/train.js';
import { UserError } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

const { TRANSFORMERS_PYTHON: python = 'python3' } = process.env;
const model = { vit: 'tiny', image_size: 96, queue_size: 64, device: 'cpu', precision: 'fp32', seed: 3 } as const;
const sizes = { images: 5, texts: 12, k: 3, batch: 4, rounds: 1, threads: 1 };

test('bfloat16 beside float32 of this program: both are measured, and named in the page', async () => {
  const report = await benchRerank({ ...model, ...sizes, precision: 'bf16', against: 'fp32', python });
  assert.ok(report.scores.maxDifference > 0 && report.scores.maxDifference < 0.5, 'another arithmetic, the same model');
  for (const { cpu_seconds, feature_cpu_seconds, rerank_cpu_seconds } of [report.own, report.reference])
    assert.ok(Math.abs(cpu_seconds.min - feature_cpu_seconds.min - rerank_cpu_seconds.min) < 1e-9);
  const page = printRerank(report);
  assert.match(page, /^ +bf16 +fp32 +ratio$/m);
  assert.match(page, /bf16 against fp32, cpu/);
  assert.match(page, /recalls/);
});

test('training steps of both, with the same random numbers', async () => {
  const options = { ...model, precision: 'bf16', against: 'fp32', python } as const;
  const report = await benchTrain({ ...options, batch: 2, steps: 1, vit_ckpt_layer: 1, rounds: 1, threads: 1 });
  const [bf16, fp32] = [report.own.losses.loss_ita, report.reference.losses.loss_ita];
  assert.equal(bf16.length, 3);
  for (const [step, loss] of bf16.entries())
    assert.ok(Math.abs(loss - (fp32[step] ?? Number.NaN)) < 0.2, `step ${step}`);
  assert.notDeepEqual(bf16, fp32);
  assert.match(printTrain(report), /with the same random numbers: bf16 .*\n {2}fp32 /);
});

test('the folder for transformers has weights, config and tokenizer', async () => {
  const drawn = await checkpointOf({ vit: 'tiny', image_size: 96, queue_size: 64 }, folder);
  const written = await huggingFaceFolder(drawn, model, folder);
  for (const name of ['model.safetensors', 'config.json', 'tokenizer.json', 'vocab.txt'])
    assert.ok(existsSync(join(written, name)), name);
});

test('a Python that does not exist', async () => {
  await assert.rejects(
    startTransformers({ python: join(folder, 'python9'), threads: 1 }, 'transformers'),
    (error) => error instanceof UserError && /^transformers, pairs \(.*cannot be started: .*ENOENT/.test(error.message),
  );
});

test('a Python without transformers is told what to install', async (t) => {
  if (spawnSync('python3', ['--version']).status !== 0) return t.skip('there is no python3');
  const bare = join(folder, 'bare-python');
  writeFileSync(bare, '#!/bin/sh\nexec python3 -S -E "$@"\n'); // without site-packages
  chmodSync(bare, 0o755);
  await assert.rejects(
    startTransformers({ python: bare, threads: 1 }, 'transformers'),
    (error) =>
      error instanceof UserError &&
      /lacks the Python packages .*transformers.*; run: .* -m pip install .*'transformers>=4\.40'/.test(error.message),
  );
});

for (const against of ['transformers', 'transformers-images'] as const)
  test(`${against} scores the same pairs as this program does`, async (t) => {
    const found = spawnSync(python, [
      '-c',
      'import torch, transformers, safetensors; assert int(transformers.__version__.split(".")[0]) >= 5',
    ]);
    if (found.status !== 0) return t.skip('set TRANSFORMERS_PYTHON to a Python with torch and a current transformers');
    const report = await benchRerank({ ...model, ...sizes, against, python });
    assert.equal(report.scores.both, 5 * 3 + 12 * 3);
    assert.equal(report.scores.one, 0);
    assert.ok(report.scores.maxDifference < 1e-4, String(report.scores.maxDifference));
    assert.ok(report.recalls_equal);
    assert.ok(report.reference.feature_seconds.min > 0 && report.reference.versions.transformers !== undefined);
  });
