// What a run says of its own length after its first batches or steps: once, on standard error, and only if it is worth saying.
// Covers commands/forecast.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bothSplits, EvaluationForecast, stepWork, withForecast } from '#blip/commands/forecast.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { oneRank } from '#blip/distributed/ranks.js';
import { SILENT } from '#blip/evaluation/evaluate.js';
import { stepCosts } from '#blip/evaluation/work-split.js';
import { SILENT_VOICE } from '#blip/logging/terminal.js';
import { architectureOf } from '#blip/model/architecture.js';
import type { TrainingData } from '#blip/training/training-data.js';
import { ruleTinyModel } from '../helpers/tensors.js';

const base = architectureOf({ vit: 'base', imageSize: 384, queueSize: 57600, medConfig: {} });
const tokenizer = Tokenizer.load();

/** A run over as many images as COCO has, or another number, with a voice that is kept. */
function drawnRun(images: number, architecture = base) {
  const split = {
    images: Array.from({ length: images }, (_, i) => `${i}.jpg`),
    texts: Array.from({ length: 5 * images }, () => 'a man riding a wave on top of a surfboard'),
  };
  const said: string[] = [];
  const run = {
    ...{ tokenizer, architecture, ranks: oneRank, splits: { val: split, test: split } },
    config: { kTest: 256, featureMemory: 2 ** 40 },
    options: { precision: 'fp32' } as const,
    voice: { ...SILENT_VOICE, aside: (line: string) => said.push(line) },
  };
  return { run, said };
}

/** A loop of features, 8 images a batch, whose clock is ours. */
function encode(images: number, secondsOfImage: number) {
  const { run, said } = drawnRun(images, ruleTinyModel().architecture);
  let seconds = 0;
  using model = ruleTinyModel();
  const forecast = new EvaluationForecast(run, model, () => seconds);
  for (const _ of ['val', 'test']) {
    const log = forecast.watch(SILENT, images);
    seconds += 30; // the loader starts
    for (let done = 0; done < images; done += 8) {
      seconds += 8 * secondsOfImage;
      log.step(8);
    }
    log.end();
  }
  return { run, said, spent: 30 };
}

test('an evaluation says once how long it takes, from the pace of its first batches', () => {
  const { run, said } = encode(800, 1);
  assert.equal(said.length, 1);
  const hours = (bothSplits(run, 1) - 30 - 2 * 8) / 3600;
  assert.equal(said[0], `About ${hours.toFixed(1)} h to go, as the first 16 images went (--dry_run measures more).`);
});

test('one batch after the first is enough where it takes seconds: 24 images come in three', () => {
  const { run, said } = encode(24, 5);
  const minutes = Math.round((bothSplits(run, 5) - 30 - 2 * 8 * 5) / 60);
  assert.deepEqual(said, [`About ${minutes} min to go, as the first 16 images went (--dry_run measures more).`]);
});

test('a short evaluation says nothing', () => {
  assert.deepEqual(encode(80, 0.001).said, []);
});

test('base: re-ranking of COCO takes some 40 times as long as its features, by the work model', () => {
  const { run } = drawnRun(5000);
  const [all, features] = [bothSplits(run, 1), 2 * 5000];
  // 7.7 million pairs of 11 tokens, at 110 million multiplications each, beside 55 thousand millions an image.
  assert.ok(all / features > 30 && all / features < 50, `${all / features}`);
});

test('images whose tokens are not kept are encoded twice', () => {
  const { run } = drawnRun(100);
  assert.equal(Math.round(bothSplits(run, 1, 60) - bothSplits(run, 1)), 80);
});

/** Training of `epochs` of 50 steps, each of which takes `seconds`; the first one `first`. */
function trained(epochs: number, seconds: number, first = 60) {
  const { run, said } = drawnRun(10);
  let now = 0;
  const batches = { next: () => null, close: () => {} };
  const data: TrainingData = {
    ...{ rows: 200, batchSize: 4, stepsPerEpoch: 50, hasTooManyBadImages: false },
    open: () => batches,
    countBadImages() {},
  };
  const plan = { stepsPerEpoch: 50, epochs, done: 0, maxSteps: undefined };
  const watched = withForecast(run, data, plan, () => now);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const epochBatches = watched.open(epoch, 0);
    for (let step = 0; step < 50; step++) {
      epochBatches.next();
      now += epoch + step === 0 ? first : seconds;
    }
    now += 1000; // an evaluation
  }
  return { run, said };
}

test('training says once how long it takes, without its slow first step, with its evaluations', () => {
  const { run, said } = trained(6, 4);
  assert.equal(said.length, 1);
  const work = stepWork(base, 4, tokenizer.encode('a man riding a wave on top of a surfboard').ids.length);
  const evaluation = bothSplits(run, (4 / work) * stepCosts(base).encoding);
  const steps = 6 * 50 - 3;
  const minutes = Math.round((steps * 4 + 6 * evaluation) / 60);
  assert.equal(
    said[0],
    `About ${minutes} min to go with 6 evaluations, as the first 3 steps went (--dry_run measures more).`,
  );
});

test('a short training says nothing', () => {
  assert.deepEqual(trained(1, 0.01).said, []);
});
