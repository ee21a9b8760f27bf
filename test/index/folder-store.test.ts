// The index in a folder: what goes in comes out, changes are whole or absent, readers and writers beside each other.
// Covers index/folder-store, manifest, segments, rows, compaction.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { at, UserError } from '#blip/errors.js';
import { segmentsToJoin } from '#blip/index/compaction.js';
import { FolderStore } from '#blip/index/folder-store.js';
import { emptyManifest } from '#blip/index/manifest.js';
import type { EmbeddedImage, IndexedImage } from '#blip/index/store.js';
import { temporaryFolder } from '../helpers/files.js';
import { embedded, facts, feature, localScan } from '../helpers/index-parts.js';

const folder = temporaryFolder();
let indexes = 0;
const path = () => join(folder, `${++indexes}.index`);
const scan = localScan();

async function all(store: FolderStore): Promise<IndexedImage[]> {
  const images: IndexedImage[] = [];
  for await (const image of store.images()) images.push(image);
  return images.sort((a, b) => (a.id < b.id ? -1 : 1));
}
const idsOf = async (store: FolderStore) => (await all(store)).map(({ id }) => id);
const some = (from: number, end: number) =>
  Array.from({ length: end - from }, (_, i) => embedded(`image ${String(from + i).padStart(4, '0')}`, from + i));

test('what was added is there, also after the index was closed', async () => {
  const index = path();
  const store = await FolderStore.create(index, { ...facts, folder, include: ['**/*.jpg'] }, scan);
  const images: EmbeddedImage[] = [
    embedded('in/folder.jpg', 1, { path: join(folder, 'in/folder.jpg'), size: 5, modified: 1_700_000_000_000.25 }),
    embedded('elsewhere', 2, { path: '/elsewhere/ü\n.jpg', size: 0, modified: 0 }),
    embedded('given as bytes\u2028"', 3),
  ];
  await store.append(images);
  await store.close();
  const again = await FolderStore.open(index, scan);
  assert.deepEqual(again.facts, { ...facts, folder, include: ['**/*.jpg'] });
  assert.equal(again.name, index);
  assert.equal(await again.count(), 3);
  const plain = images.map(({ feature: _, path, size, modified, ...others }) => ({ ...others, path, size, modified }));
  const ids = images.map(({ id }) => id);
  assert.deepEqual(await again.get([...ids, 'absent']), [...plain, undefined]);
  assert.deepEqual(await again.features(['absent', ...ids]), [undefined, ...images.map(({ feature }) => feature)]);
  assert.equal(await again.tokens('elsewhere'), undefined);
  assert.deepEqual(
    await all(again),
    plain.sort((a, b) => (a.id < b.id ? -1 : 1)),
  );
  await again.close();
});

test('an image of an id that is there takes its place; of two in one call the later one stays', async () => {
  const store = await FolderStore.create(path(), facts, scan);
  await store.append(some(0, 10));
  await store.append([embedded('image 0003', 77), embedded('new', 1), embedded('new', 2)]);
  assert.equal(await store.count(), 11);
  assert.deepEqual(await store.features(['image 0003', 'new']), [feature(77), feature(2)]);
  assert.equal(await store.remove(['image 0003', 'image 0003', 'absent']), 1);
  assert.equal(await store.remove(['image 0003']), 0);
  assert.deepEqual(await store.get(['image 0003']), [undefined]);
  assert.equal((await idsOf(store)).length, 10);
  await store.close();
});

test('tokens come back as they were, also from joined segments', async () => {
  const store = await FolderStore.create(path(), { ...facts, keepsTokens: true }, scan);
  const image = (i: number) => embedded(`image ${i}`, i, { tokens: new Uint8Array(12).fill(i) });
  await store.append([image(1), image(2), image(3)]);
  await store.append([image(4)]);
  await store.remove(['image 2']);
  for (const join of [false, true]) {
    if (join) await store.compact();
    const tokens = await Promise.all(['image 1', 'image 2', 'image 3', 'image 4'].map((id) => store.tokens(id)));
    assert.deepEqual(
      tokens.map((bytes) => bytes?.[11]),
      [1, undefined, 3, 4],
    );
  }
  await store.close();
});

test('a second reader sees a change after refresh, and not before', async () => {
  const index = path();
  const writer = await FolderStore.create(index, facts, scan);
  await writer.append(some(0, 50));
  const reader = await FolderStore.open(index, localScan());
  await writer.append(some(50, 60));
  await writer.remove(['image 0000']);
  assert.equal(await reader.count(), 50);
  const query = feature(0);
  assert.equal(at(await reader.nearest(query, 1), 0).id, 'image 0000');
  await reader.refresh();
  assert.equal(await reader.count(), 59);
  assert.notEqual(at(await reader.nearest(query, 1), 0).id, 'image 0000');
  assert.deepEqual(await idsOf(reader), await idsOf(writer));
  await Promise.all([reader.close(), writer.close()]);
});

test('a reader whose segments were joined meanwhile reads on', async () => {
  const index = path();
  const writer = await FolderStore.create(index, facts, scan);
  for (let i = 0; i < 5; i++) await writer.append(some(i * 10, i * 10 + 10));
  const [mapped, unmapped] = [await FolderStore.open(index, localScan()), await FolderStore.open(index, localScan())];
  const before = await mapped.nearest(feature(7), 10);
  await writer.compact();
  assert.deepEqual(await mapped.nearest(feature(7), 10), before);
  assert.deepEqual(await unmapped.nearest(feature(7), 10), before);
  assert.deepEqual(await unmapped.features(['image 0033']), [feature(33)]);
  await Promise.all([mapped.close(), unmapped.close(), writer.close()]);
});

test('two writers at once lose nothing', async () => {
  const index = path();
  const first = await FolderStore.create(index, facts, scan);
  const second = await FolderStore.open(index, localScan());
  const changes = Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? first : second).append(some(i * 10, i * 10 + 10)));
  await Promise.all([...changes, first.remove(['image 0005', 'image 0077'])]);
  await second.remove(['image 0005', 'image 0077']);
  await Promise.all([first.refresh(), second.refresh()]);
  const ids = some(0, 80).map(({ id }) => id);
  const left = ids.filter((id) => id !== 'image 0005' && id !== 'image 0077');
  assert.deepEqual(await idsOf(first), left);
  assert.deepEqual(await idsOf(second), left);
  await Promise.all([first.close(), second.close()]);
});

test('joined segments have the same rows and neighbours, and fewer files', async () => {
  const index = path();
  const store = await FolderStore.create(index, facts, scan);
  for (let i = 0; i < 9; i++) await store.append(some(i * 7, i * 7 + 7));
  await store.append(some(3, 12)); // replaced
  await store.remove(['image 0010', 'image 0040']);
  const [images, found] = [await all(store), await store.nearest(feature(30), 20)];
  const files = () => readdirSync(join(index, 'segments'));
  assert.ok(files().length > 15);
  await store.compact();
  assert.equal(files().length, 2);
  assert.deepEqual(await all(store), images);
  assert.deepEqual(await store.nearest(feature(30), 20), found);
  const manifest = readFileSync(join(index, 'manifest.json'));
  await store.compact();
  assert.deepEqual(readFileSync(join(index, 'manifest.json')), manifest, 'nothing was left to do');
  await store.remove((await all(store)).map(({ id }) => id));
  assert.deepEqual([await store.count(), files()], [0, []]);
  await store.close();
});

test('many small segments join by themselves, and large ones are left alone', async () => {
  const store = await FolderStore.create(path(), facts, scan);
  for (let i = 0; i < 66; i++) await store.append(some(i, i + 1));
  const segments = readdirSync(join(store.name, 'segments')).filter((name) => name.endsWith('.jsonl'));
  assert.equal(segments.length, 2);
  assert.equal(await store.count(), 66);
  await store.close();
  const sizes = [100_000, ...Array.from({ length: 64 }, () => 1000)];
  const manifest = emptyManifest({ fingerprint: 'f', source: 's', imageSize: 8, embedDim: 16, keepsTokens: false });
  manifest.segments = sizes.map((rows, i) => ({ name: `s${i}`, rows, removed: 0 }));
  assert.equal(segmentsToJoin(manifest).length, 65, 'the large one is not twice the others');
  at(manifest.segments, 0).rows = 200_000;
  assert.equal(segmentsToJoin(manifest).length, 64);
});

test('a third of the rows removed: the room is given back', async () => {
  const store = await FolderStore.create(path(), facts, scan);
  await store.append(some(0, 30));
  await store.remove(some(0, 9).map(({ id }) => id));
  const names = () => readdirSync(join(store.name, 'segments')).sort().join();
  assert.match(names(), /\.removed/);
  await store.remove(['image 0009']);
  assert.doesNotMatch(names(), /\.removed/);
  assert.equal(await store.count(), 20);
  await store.close();
});

test('what a killed writer left is removed by the next, and an index without it is opened', async () => {
  const store = await FolderStore.create(path(), facts, scan);
  await store.append(some(0, 3));
  const orphan = join(store.name, 'segments/000009-0badcafe.safetensors');
  writeFileSync(orphan, 'cut short');
  const reader = await FolderStore.open(store.name, localScan());
  assert.equal(await reader.count(), 3);
  assert.ok(existsSync(orphan), 'a reader removes nothing');
  await store.append(some(3, 4));
  assert.ok(!existsSync(orphan));
  await Promise.all([reader.close(), store.close()]);
});

test('an index is made where nothing is, and nowhere else', async () => {
  const index = path();
  const store = await FolderStore.create(index, facts, scan);
  const says = (message: RegExp) => (error: unknown) => error instanceof UserError && message.test(error.message);
  await assert.rejects(FolderStore.create(index, facts, scan), says(/has an index already\. Name another folder\.$/));
  writeFileSync(join(folder, 'a file'), '');
  await assert.rejects(FolderStore.create(folder, facts, scan), says(/has other files \(/));
  await assert.rejects(FolderStore.create(join(folder, 'a file'), facts, scan), says(/it is a file/));
  await store.close();
});

test('a filter in SQL is refused', async () => {
  const store = await FolderStore.create(path(), facts, scan);
  await assert.rejects(store.nearest(feature(1), 1, { where: 'size > 5' }), /`where` is for an index in PostgreSQL/);
  await store.close();
});

test('a signal ends a search that filters', async () => {
  const store = await FolderStore.create(path(), facts, scan);
  await store.append(some(0, 200));
  const stop = new AbortController();
  const filter = () => {
    stop.abort(new Error('enough'));
    const until = performance.now() + 1;
    while (performance.now() < until);
    return true;
  };
  await assert.rejects(store.nearest(feature(1), 1, { filter, signal: stop.signal }), /enough/);
  await store.close();
});
