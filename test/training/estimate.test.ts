// The estimate of a training: exact arithmetic on made-up steps, the memory that sizes tell, and what does not fit.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { architectureOf } from '#blip/model/architecture.js';
import { randomTrainingState } from '#blip/model/pretrained.js';
import { activationBytes } from '#blip/model/vision-transformer.js';
import { scope } from '#blip/torch/tensor.js';
import { largestBatch, lineOf, type StepMeasure, trainingSeconds, valueAt } from '#blip/training/estimate.js';
import {
  demandTrainingMemory,
  demandTrialMemory,
  estimatedTrainingBytes,
  keptBytes,
  leastBytesOfRow,
  recomputedBlocks,
  sumOf,
  trainingTooLarge,
} from '#blip/training/memory.js';
import { nextBatch } from '#blip/training/trial.js';
import { tinyArchitecture } from '../helpers/tiny-run.js';

const measures = [
  { batch: 2, seconds: 3, peak: 700 },
  { batch: 4, seconds: 5, peak: 900 },
];

test('memory and time grow along a line', () => {
  assert.deepEqual(lineOf(measures, 'peak'), { fixed: 500, perRow: 100 });
  assert.deepEqual(lineOf(measures.toReversed(), 'seconds'), { fixed: 1, perRow: 1 });
  assert.equal(valueAt(lineOf(measures, 'peak'), 32), 3700);
  assert.equal(valueAt(lineOf(measures, 'seconds'), 32), 33);
  assert.deepEqual(lineOf(measures.slice(0, 1), 'peak', 500), { fixed: 500, perRow: 100 });
  assert.deepEqual(
    lineOf(
      [measures[0], { batch: 4, seconds: 2, peak: 600 }].flatMap((one) => one ?? []),
      'peak',
    ),
    {
      fixed: 600,
      perRow: 0,
    },
  );
});

test('larger batches are measured while a step is quick, and there are rows and memory for them', () => {
  /** What is measured where a row takes `seconds` of a step, and a megabyte beside a hundred. */
  const tried = (seconds: number, batch: number, rows: number, most = Number.POSITIVE_INFINITY) => {
    const found: StepMeasure[] = [];
    const sizes = { batch, rows, fits: (bytes: number) => bytes <= most };
    for (let size = nextBatch(found, sizes); size !== undefined; size = nextBatch(found, sizes))
      found.push({ batch: size, seconds: seconds * size, peak: 1e8 + 1e6 * size });
    return found.map(({ batch: of }) => of);
  };
  assert.deepEqual(tried(0.001, 4, 10_000), [2, 4, 16, 64, 256, 1024]);
  assert.deepEqual(tried(0.001, 4, 48), [2, 4, 16]);
  assert.deepEqual(tried(0.001, 2, 100), [2, 4, 16, 64]);
  assert.deepEqual(tried(0.001, 1, 100), [1, 2, 4, 16, 64]);
  assert.deepEqual(tried(0.001, 480, 500), [2, 4, 16, 64, 256, 480]);
  assert.deepEqual(tried(0.001, 48, 48), [2, 4, 16, 48]);
  // Steps of some seconds: the small ones and the config's, as long as one of it takes no more than half a minute.
  assert.deepEqual(tried(1, 16, 10_000), [2, 4, 16]);
  assert.deepEqual(tried(1, 2, 10_000), [2]);
  assert.deepEqual(tried(1, 64, 10_000), [2, 4]);
  assert.deepEqual(tried(20, 64, 10_000), [2], 'four rows would take longer');
  // A lone measure counts all as the rows': 4 of them would need 2 x 102 MB.
  assert.deepEqual(tried(0.001, 480, 500, 2.1e8), [2, 4, 16, 64]);
});

test('the largest batch that fits: exactly, and none', () => {
  const line = { fixed: 500, perRow: 100 };
  assert.equal(largestBatch(line, 3700), 32);
  assert.equal(largestBatch(line, 3699), 31);
  assert.equal(largestBatch(line, 599), 0);
  assert.equal(largestBatch(line, 100), 0);
  assert.equal(largestBatch({ fixed: 5, perRow: 0 }, 10), Number.POSITIVE_INFINITY);
});

test('seconds of all epochs, of what is left of a run, and of one that stops early', () => {
  const each = { step: 2, start: 1, evaluation: 30 };
  const plan = { stepsPerEpoch: 100, epochs: 3, done: 0, maxSteps: undefined };
  assert.deepEqual(trainingSeconds(plan, each), { steps: 300, evaluations: 3, epoch: 231, all: 693 });
  assert.deepEqual(trainingSeconds({ ...plan, done: 150 }, each), { steps: 150, evaluations: 2, epoch: 231, all: 362 });
  assert.deepEqual(trainingSeconds({ ...plan, maxSteps: 50 }, each), {
    steps: 50,
    evaluations: 0,
    epoch: 231,
    all: 101,
  });
  assert.deepEqual(trainingSeconds({ ...plan, maxSteps: 150 }, each), {
    steps: 150,
    evaluations: 1,
    epoch: 231,
    all: 332,
  });
  assert.deepEqual(trainingSeconds({ ...plan, done: 300 }, each), { steps: 0, evaluations: 0, epoch: 231, all: 0 });
});

test('what is kept is what the tensors of a model take', () => {
  scope(() => {
    const state = [...randomTrainingState(tinyArchitecture)];
    const bytes = (of: (name: string) => boolean) =>
      state.filter(([name]) => of(name)).reduce((sum, [, tensor]) => sum + tensor.bytes().length, 0);
    const kept = keptBytes(tinyArchitecture);
    assert.equal(
      kept.weights + kept.momentum + kept.queues,
      bytes(() => true),
    );
    assert.equal(
      kept.queues,
      bytes((name) => /_queue$|position_ids$/.test(name)),
    );
    assert.equal(kept.averages, 2 * kept.gradients);
  });
});

const base = architectureOf({ vit: 'base', imageSize: 384, queueSize: 57_600, medConfig: {} });
const sizes = { architecture: base, precision: 'fp32', device: 'cpu', checkpointedBlocks: 4, ranks: 1 } as const;
const [AMPLE, NONE] = [1e12, 0];

// Peaks of two steps on a CPU, 2026-11-30, whose last 4 blocks are kept or recomputed: MiB of the process.
for (const [batch, kept, recomputed] of [
  [1, 5222, 5182],
  [2, 5710, 5603],
  [4, 7020, 6835],
  [6, 7854, 7492],
] as const)
  for (const [free, measured] of [
    [AMPLE, kept],
    [NONE, recomputed],
  ] as const)
    test(`base size, batch ${batch}, ${free === NONE ? 'recomputing' : 'keeping'}: never refused, and estimated within 10 %`, () => {
      const bytes = measured * 2 ** 20;
      assert.match(demandTrainingMemory(sizes, batch, bytes), /^Memory: about/);
      const estimated = estimatedTrainingBytes(sizes, batch, free);
      assert.ok(Math.abs(estimated / bytes - 1) < 0.1, `${estimated} for ${bytes}`);
    });

test('the estimate foretells the decision of a first step: kept while 16 times as much is left beside the weights', () => {
  const { weights, momentum, queues } = keptBytes(base);
  const beside = (ranks: number) => ranks * (0.3e9 + weights + momentum + queues);
  const saved = 4 * 3 * activationBytes(base.vision, 'fp32'); // of three rows
  for (const ranks of [1, 2]) {
    const shared = { ...sizes, ranks };
    // As TrainingModel decides, ranks that share a memory want as much each.
    assert.equal(recomputedBlocks(shared, 3, beside(ranks) + ranks * 16 * saved), 0);
    assert.equal(recomputedBlocks(shared, 3, beside(ranks) + ranks * 16 * saved - 1e3), 4);
  }
  assert.equal(recomputedBlocks({ ...sizes, device: 'cuda' }, 3, AMPLE), 4);
  assert.equal(recomputedBlocks({ ...sizes, checkpointedBlocks: 0 }, 3, NONE), 0);
  assert.ok(estimatedTrainingBytes(sizes, 3, AMPLE) > estimatedTrainingBytes(sizes, 3, NONE));
});

const message = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  throw new Error('Expected an error.');
};

test('what certainly does not fit is refused, with the largest batch that would', () => {
  const free = 12e9;
  const said = message(() => demandTrainingMemory(sizes, 64, free));
  const largest = Number(/largest batch_size_train that fits is about (\d+)/.exec(said)?.[1]);
  assert.ok(
    estimatedTrainingBytes(sizes, largest, free) <= free && estimatedTrainingBytes(sizes, largest + 1, free) > free,
    said,
  );
  const least = sumOf(keptBytes(base)) + 64 * leastBytesOfRow(sizes, 4);
  assert.match(demandTrainingMemory(sizes, 64, least), /Memory/);
  assert.match(demandTrainingMemory(sizes, 64, free, least - free), /Memory/, 'what swap could hold is not refused');
  assert.match(
    message(() => demandTrainingMemory(sizes, 64, free, least - free - 1)),
    /batch_size_train 64/,
  );
});

test('the largest batch that fits is right where its block would be kept, too, and found at once for any batch', () => {
  const [free, lone] = [40e9, { ...sizes, checkpointedBlocks: 1 }];
  const said = message(() => demandTrainingMemory(lone, 1e9, free));
  const largest = Number(/largest batch_size_train that fits is about (\d+)/.exec(said)?.[1]);
  assert.equal(recomputedBlocks(lone, largest, free), 0);
  assert.ok(
    estimatedTrainingBytes(lone, largest, free) <= free && estimatedTrainingBytes(lone, largest + 1, free) > free,
  );
});

test('an image size of which not even one fits is refused with the largest that does', () => {
  const large = { ...sizes, architecture: { ...base, vision: { ...base.vision, imageSize: 2048 } } };
  const said = message(() => demandTrainingMemory(large, 1, 8e9));
  const side = Number(/the largest image_size that fits is about (\d+)/.exec(said)?.[1]);
  const at = (imageSize: number) =>
    estimatedTrainingBytes({ ...sizes, architecture: { ...base, vision: { ...base.vision, imageSize } } }, 1, 8e9);
  assert.ok(side % 16 === 0 && at(side) <= 8e9 && at(side + 16) > 8e9, said);
  assert.match(
    message(() => demandTrainingMemory(sizes, 1, 2e9)),
    /No batch_size_train and no image_size fits/,
  );
});

test('a trial is refused where its own small batch is likely not to fit', () => {
  demandTrialMemory(sizes, 2, 64, 12e9);
  assert.match(
    message(() => demandTrialMemory(sizes, 2, 64, 5e9)),
    /batch_size_train 64 .* needs about/,
  );
  const measured = trainingTooLarge({ batch: 32, peak: 23e9, most: 29, free: 21e9 }).message;
  assert.match(measured, /needs about 23\.0 GB.*21\.0 GB is available\. The largest batch_size_train that fits is 29,/);
  assert.match(trainingTooLarge({ batch: 32, peak: 23e9, most: 0, free: 1e9 }).message, /Not even a batch of 1 fits/);
});
