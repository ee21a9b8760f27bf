// Training batches: pixels that depend only on seed, epoch and position, whatever the number of threads, ranks and restarts.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { augment } from '#blip/data/images/augment.js';
import { decodeRgb } from '#blip/data/images/decode.js';
import { imageAddon } from '#blip/data/images/image-addon.js';
import { MEAN_PIXEL } from '#blip/data/images/normalization.js';
import { SampleRandom } from '#blip/data/images/philox.js';
import { drawTraining, trainTransform } from '#blip/data/images/train-transform.js';
import { ImageLoader } from '#blip/data/loader/loader.js';
import { TrainingSampler } from '#blip/data/loader/sampler.js';
import { type TrainingLoaderOptions, trainingEpoch } from '#blip/data/loader/training-loader.js';
import { UserError } from '#blip/errors.js';
import { noise, png, temporaryFolder } from '../../helpers/files.js';

const { folder, remove } = temporaryFolder();
after(remove);

const SIZE = 12;
const BYTES = SIZE * SIZE * 3;

const images = Array.from({ length: 26 }, (_, i) => {
  const path = join(folder, `${i}.png`);
  const [width, height] = [20 + i, 45 - i];
  writeFileSync(path, png({ width, height, colourType: 2, samples: noise(width * height * 3, i) }));
  return path;
});
const set = {
  file: 'train.json',
  images,
  captions: images.map((_, i) => `image ${i}`),
  idx: Int32Array.from(images.keys()),
  imageCount: images.length,
};

type Choice = Partial<TrainingLoaderOptions> & { worldSize?: number; rank?: number; batchSize?: number };

/** Rows and their pixels, batch after batch. */
function epoch({ worldSize = 1, rank = 0, batchSize = 4, ...options }: Choice): { row: number; pixels: Uint8Array }[] {
  const sampler = new TrainingSampler({ length: images.length, worldSize, rank, batchSize });
  const { loader, rows } = trainingEpoch({ set, sampler, epoch: 1, seed: 42, size: SIZE, workers: 2, ...options });
  const samples: { row: number; pixels: Uint8Array }[] = [];
  try {
    for (let batch = loader.next(); batch !== null; batch = loader.next()) {
      assert.equal(batch.count, batchSize);
      for (let i = 0; i < batch.count; i++) {
        const pixels = Uint8Array.from(batch.data.subarray(i * BYTES, (i + 1) * BYTES));
        samples.push({ row: rows[batch.start + i] ?? -1, pixels });
      }
      batch.release();
    }
  } finally {
    loader.close();
  }
  assert.equal(samples.length, rows.length);
  return samples;
}

const whole = epoch({});

test('each sample is its row’s image, transformed as its position decides', async () => {
  assert.equal(whole.length, 24);
  for (const [position, { row, pixels }] of whole.entries()) {
    const expected = new Uint8Array(BYTES);
    trainTransform(await decodeRgb(images[row] ?? ''), SIZE, expected, { seed: 42, epoch: 1, position });
    assert.deepEqual(pixels, expected);
  }
});

test('the transform is crop, resize, mirror and the augmentations in order', async () => {
  const seen = { mirrored: 0, twice: 0 };
  for (let position = 0; position < 40; position++) {
    const path = images[position % images.length] ?? '';
    const image = await decodeRgb(path);
    const { data, width, height } = image;
    const draw = drawTraining(new SampleRandom({ seed: 7, epoch: 2, position }), width, height);
    let expected = new Uint8Array(BYTES);
    imageAddon().resizeBicubic(data, width, height, SIZE, SIZE, expected, draw.box);
    if (draw.mirrored) imageAddon().mirrorRows(expected, SIZE, SIZE);
    for (const operation of draw.augmentations) {
      expected = Uint8Array.from(augment(expected, SIZE, SIZE, operation));
    }
    seen.mirrored += Number(draw.mirrored);
    seen.twice += Number(draw.augmentations.length === 2);
    const result = new Uint8Array(BYTES);
    trainTransform(image, SIZE, result, { seed: 7, epoch: 2, position });
    assert.deepEqual(result, expected);
  }
  assert.ok(seen.mirrored > 0 && seen.mirrored < 40 && seen.twice > 0);
});

test('threads and slots change nothing', () => {
  assert.deepEqual(epoch({ workers: 1, slots: 1 }), whole);
  assert.deepEqual(epoch({ workers: 3, slots: 2 }), whole);
});

test('an epoch resumed in the middle continues as it would have', () => {
  assert.deepEqual(epoch({ firstBatch: 4 }), whole.slice(16));
  assert.deepEqual(epoch({ firstBatch: 6 }), []);
  const rank = { worldSize: 2, rank: 1, batchSize: 3 };
  assert.deepEqual(epoch({ ...rank, firstBatch: 2 }), epoch(rank).slice(6));
});

test('the ranks together have the samples of one process', () => {
  const ranks = [0, 1].map((rank) => epoch({ worldSize: 2, rank, batchSize: 2 }));
  const together = ranks[0]?.flatMap((sample, i) => [sample, ranks[1]?.[i]]);
  assert.deepEqual(together, whole);
});

test('another epoch and another seed give other pixels of the same image', () => {
  const pixels = (samples: typeof whole, row: number) => samples.find((sample) => sample.row === row)?.pixels;
  const row = whole[0]?.row ?? 0;
  assert.notDeepEqual(pixels(epoch({ seed: 43 }), row), pixels(whole, row));
  const path = images[0] ?? '';
  const load = (number: number) => {
    const transform = { kind: 'train', seed: 1, epoch: number, first: 0 } as const;
    const loader = new ImageLoader({ paths: [path, path], size: SIZE, batchSize: 2, workers: 1, transform });
    const data = Uint8Array.from(loader.next()?.data ?? []);
    loader.close();
    return [data.subarray(0, BYTES), data.subarray(BYTES)];
  };
  const [first, second] = load(0);
  assert.notDeepEqual(first, second);
  assert.notDeepEqual(load(1)[0], first);
});

test('a bad image ends the epoch with its sentence, or is the mean colour', () => {
  const absent = join(folder, 'absent.png');
  const sampler = new TrainingSampler({ length: 4, worldSize: 1, rank: 0, batchSize: 4 });
  const options = { set: { ...set, images: [absent, ...images.slice(0, 3)] }, sampler, epoch: 0, seed: 1, size: SIZE };
  const strict = trainingEpoch({ ...options, workers: 1 });
  assert.throws(
    () => strict.loader.next(),
    (error) => error instanceof UserError && /absent\.png does not exist/.test(error.message),
  );
  const lenient = trainingEpoch({ ...options, workers: 1, skipBadImages: true });
  const batch = lenient.loader.next();
  const position = lenient.rows.indexOf(0);
  assert.deepEqual(
    batch?.bad.map(({ index, path }) => [index, path]),
    [[position, absent]],
  );
  const mean = Uint8Array.from({ length: BYTES }, (_, i) => MEAN_PIXEL[i % 3] ?? 0);
  assert.deepEqual(Uint8Array.from(batch?.data.subarray(position * BYTES, (position + 1) * BYTES) ?? []), mean);
  lenient.loader.close();
});

test('impossible positions are refused', () => {
  for (const wrong of [{ first: -1 }, { epoch: 0.5 }, { stride: 0 }, { seed: Number.NaN }]) {
    const transform = { kind: 'train', seed: 1, epoch: 0, first: 0, ...wrong } as const;
    assert.throws(() => new ImageLoader({ paths: images, size: SIZE, batchSize: 4, transform }), RangeError);
  }
});
