// Exact search against a plain loop in double precision: order, ties, tombstones, filters, segments.
// Covers index/exact, index/folder-store.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { at, UserError } from '#blip/errors.js';
import { ExactScan } from '#blip/index/exact.js';
import { FolderStore } from '#blip/index/folder-store.js';
import type { EmbeddedImage } from '#blip/index/store.js';
import { writeSafetensors } from '#blip/torch/safetensors.js';
import { liveHandles } from '#blip/torch/tensor.js';
import { temporaryFolder } from '../helpers/files.js';
import { DIM, embedded, facts, feature, localScan } from '../helpers/index-parts.js';

const folder = temporaryFolder();
let indexes = 0;
const make = () => FolderStore.create(join(folder, String(++indexes)), facts, localScan());

const found = async (store: FolderStore, ...asked: Parameters<FolderStore['nearest']>) =>
  (await store.nearest(...asked)).map(({ id, similarity }) => ({ id, similarity }));

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * at(b, i), 0);

/** The plain loop. */
function expected(images: readonly EmbeddedImage[], query: Float32Array, k: number) {
  return images
    .map(({ id, feature }) => ({ id, similarity: dot(query, feature) }))
    .sort((a, b) => b.similarity - a.similarity || (a.id < b.id ? -1 : 1))
    .slice(0, k);
}

/** Images of which every third is equal to another. */
const images = Array.from({ length: 500 }, (_, i) => embedded(`image ${(i * 271) % 500}`, i % 3 === 0 ? i % 7 : i));

test('the nearest are those of a plain loop, ties in the order of ids, whatever the segments', async () => {
  const store = await make();
  for (const [start, end] of [
    [0, 1],
    [1, 200],
    [200, 203],
    [203, 500],
  ])
    await store.append(images.slice(start, end));
  for (const k of [1, 2, 3, 10, 30, 100, 499, 500, 1000])
    for (const seed of [1, 2, 3, 900, 901])
      assert.deepEqual(
        await found(store, feature(seed), k),
        expected(images, feature(seed), k),
        `k ${k}, seed ${seed}`,
      );
  await store.close();
});

test('removed images and those that a filter leaves out are not found', async () => {
  const store = await make();
  await store.append(images.slice(0, 250));
  await store.append(images.slice(250));
  const gone = new Set(images.filter((_, i) => i % 5 === 0).map(({ id }) => id));
  await store.remove([...gone]);
  const left = images.filter(({ id }) => !gone.has(id));
  const query = feature(3);
  assert.deepEqual(await found(store, query, 20), expected(left, query, 20));
  const isEven = ({ id }: { id: string }) => id.endsWith('2');
  const even = left.filter(isEven);
  assert.deepEqual(await found(store, query, 20, { filter: isEven }), expected(even, query, 20));
  assert.deepEqual(await found(store, query, 500, { filter: isEven }), expected(even, query, 500));
  assert.deepEqual(await store.nearest(query, 5, { filter: () => false }), []);
  await store.close();
});

test('five hundred equal images: the first by id, each with one similarity', async () => {
  const store = await make();
  const equal = images.map((image) => ({ ...image, feature: feature(4) }));
  await store.append(equal);
  const found = await store.nearest(feature(4), 3);
  assert.deepEqual(
    found.map(({ id }) => id),
    equal
      .map(({ id }) => id)
      .sort()
      .slice(0, 3),
  );
  await store.close();
});

test('an empty index has no neighbours', async () => {
  const store = await make();
  assert.deepEqual(await store.nearest(feature(1), 5), []);
  await store.close();
});

async function segment(values: Float32Array): Promise<{ path: string; rows: number }> {
  const path = join(folder, `${++indexes}.safetensors`);
  const rows = values.length / DIM;
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  await writeSafetensors(path, new Map([['features', { dtype: 'float32', shape: [rows, DIM], data }]]));
  return { path, rows };
}

for (const [what, value] of Object.entries({ NaN: Number.NaN, infinity: Number.POSITIVE_INFINITY, length: 50 }))
  test(`a feature with ${what} in it is called damage, and is no neighbour`, async () => {
    const values = Float32Array.from([...feature(1), ...feature(2), ...feature(3)]);
    values.fill(value, DIM, 2 * DIM);
    const damaged = await segment(values);
    const scan = new ExactScan();
    const query = feature(1).map(Math.abs);
    assert.throws(
      () => scan.nearest({ index: 1, segments: [damaged], query, k: 2 }),
      (error) => error instanceof UserError && /no unit vectors: it is damaged/.test(error.message),
    );
    const left = Uint8Array.of(0, 1, 0);
    const found = scan.nearest({ index: 1, segments: [{ ...damaged, left }], query, k: 5 });
    assert.deepEqual([found.length, found.every(Number.isFinite)], [6, true]);
    scan.nearest({ index: 1, segments: [], query, k: 1 }); // what it holds is not left to the garbage collector
  });

test('segments that are no longer scanned are unmapped; an index that is let go leaves nothing', async () => {
  const handles = liveHandles();
  const [a, b] = [await segment(feature(1)), await segment(feature(2))];
  const scan = new ExactScan();
  const job = { index: 7, query: feature(5), k: 1 };
  scan.nearest({ ...job, segments: [a, b] });
  const both = liveHandles();
  scan.nearest({ ...job, segments: [b] });
  assert.ok(liveHandles() < both);
  assert.throws(() => scan.nearest({ ...job, segments: [b, { path: join(folder, 'none'), rows: 1 }] }), UserError);
  scan.nearest({ ...job, segments: [] });
  assert.equal(liveHandles(), handles);
});
