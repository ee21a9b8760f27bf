// The drawn data set: layout, determinism, that every caption is true of its picture, and that no scene is drawn twice.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import sharp from 'sharp';
import { Random } from '#blip/data/random.js';
import { drawDataSet } from '#blip/demo/data-set.js';
import { captionsOf, drawScene, SCENE_COUNT, sceneAt } from '#blip/demo/scene.js';
import { UserError } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

interface EvaluationRow {
  image: string;
  caption: string[];
}

function rows<T>(annRoot: string, split: string): T[] {
  return JSON.parse(readFileSync(join(annRoot, `coco_karpathy_${split}.json`), 'utf8'));
}

test("the annotations have the layout of COCO's, and every image can be decoded at varying sizes", async () => {
  const { imageRoot, annRoot } = await drawDataSet(join(folder, 'a'), { train: 2, val: 3, test: 12, seed: 1 });
  const train = rows<{ caption: string; image: string; image_id: string }>(annRoot, 'train');
  assert.equal(train.length, 10);
  assert.deepEqual(Object.keys(train[0] ?? {}), ['caption', 'image', 'image_id']);
  assert.equal(new Set(train.map(({ image_id }) => image_id)).size, 2);
  assert.equal(rows(annRoot, 'val').length, 3);
  const tests = rows<EvaluationRow>(annRoot, 'test');
  assert.equal(tests.length, 12);
  const sizes = new Set<string>();
  for (const { image, caption } of tests) {
    assert.equal(caption.length, 5);
    const { width, height, format, channels } = await sharp(join(imageRoot, image)).metadata();
    assert.equal(format, 'jpeg');
    assert.equal(channels, 3);
    sizes.add(`${width}x${height}`);
  }
  assert.ok(sizes.size >= 3);
  for (const { image } of train) assert.ok(existsSync(join(imageRoot, image)));
});

test('equal seeds draw equal files, others do not; a split of none has no file', async () => {
  const options = { train: 0, val: 2, test: 2, seed: 5 };
  const [a, b, c] = [
    await drawDataSet(join(folder, 'b'), options),
    await drawDataSet(join(folder, 'c'), options),
    await drawDataSet(join(folder, 'd'), { ...options, seed: 6 }),
  ];
  assert.deepEqual(rows(a.annRoot, 'test'), rows(b.annRoot, 'test'));
  assert.notDeepEqual(rows(a.annRoot, 'test'), rows(c.annRoot, 'test'));
  for (const { image } of rows<EvaluationRow>(a.annRoot, 'test')) {
    assert.deepEqual(readFileSync(join(a.imageRoot, image)), readFileSync(join(b.imageRoot, image)));
  }
  assert.ok(!existsSync(join(a.annRoot, 'coco_karpathy_train.json')));
});

test('all scenes are different, and so are their captions within a scene', () => {
  const first = new Set<string>();
  for (let i = 0; i < SCENE_COUNT; i++) {
    const scene = sceneAt(i);
    assert.equal(new Set([scene.first.color, scene.second.color, scene.background]).size, 3);
    const captions = captionsOf(scene);
    assert.equal(new Set(captions).size, 5);
    first.add(JSON.stringify(scene));
  }
  assert.equal(first.size, SCENE_COUNT);
});

test('the colours that a caption names are where it says', () => {
  const names: Record<string, number[]> = { red: [214, 45, 48], green: [45, 160, 70], blue: [45, 85, 210] };
  let checked = 0;
  for (let i = 0; i < SCENE_COUNT; i += 7) {
    const scene = sceneAt(i);
    // A ring is empty in its middle, and a triangle is narrow where its middle may come to lie.
    if (![scene.first, scene.second].every(({ shape }) => shape === 'circle' || shape === 'square')) continue;
    if (!names[scene.first.color] || !names[scene.second.color]) continue;
    const { width, height, pixels } = drawScene(scene, new Random(i));
    const around = (x: number, y: number) => {
      const start = (Math.round(y) * width + Math.round(x)) * 3;
      return [...pixels.subarray(start, start + 3)];
    };
    const near = (pixel: number[], color: string) =>
      pixel.every((value, c) => Math.abs(value - (names[color]?.[c] ?? 0)) <= 12);
    const [a, b] = scene.beside
      ? [around(width / 4, height / 2), around((3 * width) / 4, height / 2)]
      : [around(width / 2, height / 4), around(width / 2, (3 * height) / 4)];
    assert.ok(near(a, scene.first.color), `${captionsOf(scene)[0]}: ${a}`);
    assert.ok(near(b, scene.second.color), `${captionsOf(scene)[0]}: ${b}`);
    assert.match(
      captionsOf(scene)[0] ?? '',
      new RegExp(`^An? ${scene.first.color} .* ${scene.beside ? 'left' : 'above'}`),
    );
    checked++;
  }
  assert.ok(checked > 10);
});

test('what cannot be drawn or written is refused with a sentence', async () => {
  const refuses = (message: RegExp) => (error: unknown) => error instanceof UserError && message.test(error.message);
  const none = { train: 0, val: 0, test: 1, seed: 1 };
  await assert.rejects(
    drawDataSet(join(folder, 'e'), { ...none, test: SCENE_COUNT + 1 }),
    refuses(/at most 10752 images/),
  );
  const file = join(folder, 'file');
  writeFileSync(file, '');
  await assert.rejects(drawDataSet(file, none), refuses(/a part of this path is a file/));
});

test('the random numbers are the known sequence of mulberry32', () => {
  const random = new Random(0);
  const sequence = [random.next(), random.next(), random.next()];
  assert.deepEqual(sequence, [0.26642920868471265, 0.0003297457005828619, 0.2232720274478197]);
  assert.throws(() => random.pick([]), RangeError);
});
