// The training set: rows, captions, the numbering of images, and its sentences.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TextList } from '#blip/data/text-list.js';
import { loadTrainingSet } from '#blip/data/training-set.js';
import { UserError } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

const folder = temporaryFolder();

const all = (list: TextList) => Array.from({ length: list.length }, (_, i) => list.at(i));

let made = 0;
function load(rows: unknown, dataset: 'coco' | 'flickr' = 'coco', maxWords?: number) {
  const annRoot = join(folder, `ann${made++}`);
  mkdirSync(annRoot);
  const name = dataset === 'coco' ? 'coco_karpathy_train.json' : 'flickr30k_train.json';
  writeFileSync(join(annRoot, name), typeof rows === 'string' ? rows : JSON.stringify(rows));
  return loadTrainingSet({ annRoot, imageRoot: folder, dataset, ...(maxWords === undefined ? {} : { maxWords }) });
}

test('images are numbered in order of first appearance, by ids of both kinds', async () => {
  const rows = ['b', 7, '7', 'b', 7, 7.0].map((image_id, i) => ({
    image: `${i % 3}.jpg`,
    caption: `A dog, ${i}!`,
    image_id,
  }));
  const set = await load(rows, 'flickr');
  assert.deepEqual([...set.idx], [0, 1, 2, 0, 1, 1]);
  assert.equal(set.imageCount, 3);
  assert.deepEqual([set.images.length, set.captions.length], [6, 6]);
  assert.deepEqual(all(set.images).slice(0, 2), [join(folder, '0.jpg'), join(folder, '1.jpg')]);
  assert.equal(set.captions.at(4), 'a dog, 4');
  assert.throws(() => set.captions.at(6), RangeError);
  assert.match(set.file, /flickr30k_train\.json$/);
});

test('captions keep maxWords words', async () => {
  const set = await load([{ image: 'a.jpg', caption: 'One two three', image_id: 1 }], 'coco', 2);
  assert.deepEqual(all(set.captions), ['one two']);
});

test('the golden train split has a number for every row', async () => {
  const data = join(projectRoot, 'test/golden/rule_tiny/data');
  const set = await loadTrainingSet({
    annRoot: join(data, 'annotation'),
    imageRoot: join(data, 'images'),
    dataset: 'coco',
  });
  const rows: { image_id: string }[] = JSON.parse(readFileSync(set.file, 'utf8'));
  const ids = [...new Set(rows.map(({ image_id }) => image_id))];
  assert.equal(set.imageCount, ids.length);
  assert.deepEqual(
    [...set.idx],
    rows.map(({ image_id }) => ids.indexOf(image_id)),
  );
});

const good = { image: 'a.jpg', caption: 'a dog', image_id: 1 };
const wrong: [what: string, rows: unknown, message: RegExp][] = [
  ['no row', [], /has no rows\. Correct the file/],
  [
    'a missing image_id',
    [good, { image: 'a.jpg', caption: 'b' }],
    /row 2: field image_id is missing\. Correct the file; "check-data" lists every defect\.$/,
  ],
  ['a list as image_id', [{ ...good, image_id: [] }], /a string or a whole number for field image_id .* a list/],
  ['half an image_id', [{ ...good, image_id: 1.5 }], /field image_id but received number 1\.5\./],
  ['a list of captions', [{ ...good, caption: ['a', 'b'] }], /expected a string for field caption .* a list/],
  [
    'two defects',
    [
      { ...good, image: '../a' },
      { ...good, caption: null },
    ],
    /leaves image_root.*first of 2 defects/,
  ],
];
for (const [what, rows, message] of wrong) {
  test(`refuses ${what} with a sentence`, async () => {
    await assert.rejects(load(rows), (error) => error instanceof UserError && message.test(error.message));
  });
}

test('an absent file and an absent image_root are told apart', async () => {
  const options = { annRoot: join(folder, 'none'), imageRoot: folder, dataset: 'coco' } as const;
  await assert.rejects(loadTrainingSet(options), /coco_karpathy_train\.json does not exist/);
  const data = join(projectRoot, 'test/golden/rule_tiny/data');
  const imageRoot = join(folder, 'no images');
  await assert.rejects(
    loadTrainingSet({ annRoot: join(data, 'annotation'), imageRoot, dataset: 'coco' }),
    /image_root .*no images does not exist/,
  );
});
