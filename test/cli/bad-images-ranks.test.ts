// --skip_bad_images in training with several ranks: the images of all ranks count, wherever they fall.
// Covers data/bad-images, training/train, training/training-data.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { BadImages } from '#blip/data/bad-images.js';
import { TrainingSampler } from '#blip/data/loader/sampler.js';
import { oneRank } from '#blip/distributed/ranks.js';
import { UserError } from '#blip/errors.js';
import { readJson } from '../helpers/tensors.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

interface Row {
  image: string;
  image_id: string;
}

const tiny = new TinyRuns({ flags: ['--nproc_per_node', '2', '--skip_bad_images'] });
/** One row for each of the 24 images, of which at most one may be grey. */
let rows: Row[] = [];
before(async () => {
  await tiny.write();
  const file = 'annotation/coco_karpathy_train.json';
  const first = new Map<string, Row>();
  for (const row of readJson<Row[]>(join(tinyData, file))) if (!first.has(row.image)) first.set(row.image, row);
  rows = [...first.values()];
  cpSync(join(tinyData, 'annotation'), tiny.path('annotation'), { recursive: true });
  writeFileSync(tiny.path(file), JSON.stringify(rows));
});

/** Runs an epoch of three steps with the images of `bad` broken: rank and step at which each is read. */
async function trained(name: string, bad: readonly [rank: number, step: number][], ...more: string[]) {
  const images = tiny.path(`${name}_images`);
  mkdirSync(images);
  cpSync(join(tinyData, 'images'), images, { recursive: true });
  for (const [rank, step] of bad) {
    const order = new TrainingSampler({ length: rows.length, worldSize: 2, rank, batchSize: 4 }).order(0);
    const image = rows[order[step * 4] ?? -1]?.image ?? '';
    truncateSync(join(images, image), 500);
  }
  const roots = ['--set', `image_root=${images}`, '--set', `ann_root=${tiny.path('annotation')}`];
  return tiny.run(name, ...roots, '--set', 'max_epoch=1', ...more);
}

const TOGETHER =
  /^error: 2 of the 24 images of the train split cannot be read, counted over 2 ranks so far: too many to count as grey, which at most 1 may\. One of them: The image .* is truncated/m;

test('one bad image on each of two ranks is one too many, said at the next logged step', async () => {
  const first = await trained('each', [
    [0, 0],
    [1, 0],
  ]);
  assert.equal(first.code, 1);
  assert.match(first.stderr, TOGETHER);
  assert.doesNotMatch(first.stderr, /lost the connection/);
  const later = await trained(
    'later',
    [
      [0, 1],
      [1, 2],
    ],
    ...['--log_every', '2'],
  );
  assert.equal(later.code, 1);
  assert.match(later.stderr, TOGETHER);
});

test('two bad images on one rank end the run on both, with their number', async () => {
  // Step 1 is no logged one.
  const { code, stderr } = await trained(
    'one_rank',
    [
      [1, 0],
      [1, 1],
    ],
    ...['--log_every', '3'],
  );
  assert.equal(code, 1);
  assert.match(stderr, TOGETHER);
  assert.doesNotMatch(stderr, /lost the connection/);
});

test('one bad image is grey, and the run ends well', async () => {
  const { code, stdout, stderr } = await trained('grey', [[1, 1]]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^1 row of this epoch had an image that could not be read/m);
});

test('an image that two ranks met counts once', () => {
  const bad = (path: string) => ({ path, message: `The image ${path} is damaged.` });
  const others: unknown[] = [];
  const two = { ...oneRank, worldSize: 2, gatherValues: <T>(own: T): T[] => [own, ...(others as T[])] };
  const images = new BadImages('the train split', 200);
  images.add([bad('a'), bad('a'), bad('b')]);
  others.push([bad('b')]);
  images.exchange(two);
  images.exchange(two);
  others[0] = [bad('c')];
  assert.throws(
    () => images.exchange(two),
    (error) => {
      assert.ok(error instanceof UserError);
      assert.match(
        error.message,
        /^3 of the 200 images .* counted over 2 ranks .* at most 2 may\. One of them: The image c is/,
      );
      return true;
    },
  );
});
