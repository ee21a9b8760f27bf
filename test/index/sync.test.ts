// Syncing an index with its folder: what is encoded and what is not, what is reported, and what a failure leaves.
// Covers index/sync, embed-images, bad-image, image-index.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { FolderStore } from '#blip/index/folder-store.js';
import { ImageIndex } from '#blip/index/image-index.js';
import { temporaryFolder } from '../helpers/files.js';
import { facts, fakeEncoder } from '../helpers/index-parts.js';

const root = temporaryFolder();
let indexes = 0;

async function made(files: Record<string, string>, more: { include?: string[]; keepsTokens?: boolean } = {}) {
  const folder = join(root, `photos ${++indexes}`);
  mkdirSync(folder);
  const write = (name: string, text: string) => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  };
  for (const [name, text] of Object.entries(files)) write(name, text);
  const encoder = fakeEncoder();
  const store = await FolderStore.create(`${folder}.index`, { ...facts, folder, ...more }, encoder.scan);
  const index = await ImageIndex.of(store, encoder);
  /** Names of the images that were encoded since the last call. */
  const encoded = () => encoder.encoded.splice(0).map((path) => basename(path));
  const ids = async () => {
    const found: string[] = [];
    for await (const { id } of index.images()) found.push(id);
    return found.sort();
  };
  return { folder, encoder, index, store, write, encoded, ids };
}
const none = { added: 0, changed: 0, renamed: 0, removed: 0, unchanged: 0, bad: [] };

test('only what is new or changed is encoded; what has gone is removed', async () => {
  const { folder, index, write, encoded, ids } = await made({
    'a.jpg': 'a',
    'in/b.jpg': 'b',
    'c.jpg': 'c',
    'd.txt': 'd',
  });
  assert.deepEqual(await index.sync(), { ...none, added: 3 });
  assert.deepEqual(encoded(), ['a.jpg', 'c.jpg', 'b.jpg']);
  assert.equal(index.size, 3);
  assert.deepEqual(await index.sync(), { ...none, unchanged: 3 });
  assert.deepEqual(encoded(), []);

  write('a.jpg', 'another a');
  write('new.jpg', 'n');
  rmSync(join(folder, 'c.jpg'));
  assert.deepEqual(await index.sync(), { ...none, added: 1, changed: 1, removed: 1, unchanged: 1 });
  assert.deepEqual(encoded(), ['a.jpg', 'new.jpg']);
  assert.deepEqual(await ids(), ['a.jpg', 'in/b.jpg', 'new.jpg']);
  const image = await index.get('a.jpg');
  assert.deepEqual([image?.size, image?.path], [9, join(folder, 'a.jpg')]);
  await index.close();
});

test('a file of another time but the same bytes is looked at once, and not encoded', async () => {
  const { folder, index, encoded } = await made({ 'a.jpg': 'a' });
  await index.sync();
  encoded();
  utimesSync(join(folder, 'a.jpg'), 1000, 1000);
  assert.deepEqual(await index.sync(), { ...none, unchanged: 1 });
  assert.deepEqual(encoded(), []);
  assert.equal((await index.get('a.jpg'))?.modified, 1_000_000);
  const manifest = readFileSync(join(index.name, 'manifest.json'), 'utf8');
  assert.deepEqual(await index.sync(), { ...none, unchanged: 1 });
  assert.equal(readFileSync(join(index.name, 'manifest.json'), 'utf8'), manifest);
  await index.close();
});

test('a file of the same size and other bytes is encoded', async () => {
  const { index, write, encoded } = await made({ 'a.jpg': 'aa' });
  await index.sync();
  encoded();
  write('a.jpg', 'bb');
  assert.deepEqual(await index.sync(), { ...none, changed: 1 });
  assert.deepEqual(encoded(), ['a.jpg']);
  await index.close();
});

test('renamed files are known by their bytes, with their tokens', async () => {
  const { folder, index, store, encoded, ids } = await made(
    { 'a.jpg': 'aaaa', 'b.jpg': 'bbbb' },
    { keepsTokens: true },
  );
  await index.sync();
  encoded();
  const [features, tokens] = [await store.features(['a.jpg']), await store.tokens('a.jpg')];
  renameSync(join(folder, 'a.jpg'), join(folder, 'z.jpg'));
  assert.deepEqual(await index.sync(), { ...none, renamed: 1, unchanged: 1 });
  assert.deepEqual(encoded(), []);
  assert.deepEqual(await ids(), ['b.jpg', 'z.jpg']);
  assert.deepEqual([await store.features(['z.jpg']), await store.tokens('z.jpg')], [features, tokens]);
  await index.close();
});

test('bad images: skipped and listed, told to a function, or the end of the call; each sync tries them again', async () => {
  const { folder, index, write, encoded, ids } = await made({
    'a.jpg': 'a',
    'b.jpg': 'bad',
    'c.jpg': 'bad too',
    'd.jpg': 'd',
  });
  const path = join(folder, 'b.jpg');
  const reason = `The image ${path} is damaged. Replace it.`;
  await assert.rejects(index.sync(), (error) => {
    assert.ok(error instanceof UserError);
    assert.equal(error.message, `${reason} Or set \`onBadImage\` to 'skip' to leave such images out and list them.`);
    return true;
  });
  assert.equal(index.size, 1, 'what was encoded before stays');
  const report = await index.sync({ onBadImage: 'skip' });
  assert.deepEqual({ ...report, bad: report.bad.length }, { ...none, added: 1, unchanged: 1, bad: 2 });
  assert.deepEqual(report.bad[0], { id: 'b.jpg', path, reason });
  encoded();
  const told: string[] = [];
  await index.sync({ onBadImage: ({ id }) => told.push(id) });
  assert.deepEqual(
    [told, encoded()],
    [
      ['b.jpg', 'c.jpg'],
      ['b.jpg', 'c.jpg'],
    ],
  );
  const own = new Error('my own');
  await assert.rejects(
    index.sync({
      onBadImage: () => {
        throw own;
      },
    }),
    own,
  );
  write('a.jpg', 'bad now');
  await index.sync({ onBadImage: 'skip' });
  assert.deepEqual(await ids(), ['d.jpg'], 'an image that is bad now is not found as it was');
  await index.close();
});

test('images that were added one by one stay, and so do those of another folder', async () => {
  const { index, ids } = await made({ 'a.jpg': 'a' });
  const outside = join(root, 'outside.jpg');
  writeFileSync(outside, 'o');
  assert.deepEqual(await index.add([outside, { id: 'bytes', image: Buffer.from('x') }]), {
    added: 2,
    changed: 0,
    bad: [],
  });
  assert.deepEqual(await index.sync(), { ...none, added: 1 });
  assert.deepEqual(await index.add([{ id: 'bytes', image: Buffer.from('y') }]), { added: 0, changed: 1, bad: [] });
  assert.deepEqual(await ids(), [outside, 'a.jpg', 'bytes'].sort());
  await index.close();
});

test('a sync that is stopped keeps what it has, and the next goes on', async () => {
  const names = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`${i}.jpg`, `image ${i}`]));
  const { index, encoded } = await made(names);
  const stop = new AbortController();
  const onProgress = (done: number) => {
    if (done === 20) stop.abort(new Error('stopped'));
  };
  await assert.rejects(index.sync({ onProgress, signal: stop.signal }), /stopped/);
  assert.ok(index.size >= 20 && index.size < 40, String(index.size));
  const before = index.size;
  encoded();
  const told: [number, number][] = [];
  assert.deepEqual(await index.sync({ onProgress: (...numbers) => told.push(numbers) }), {
    ...none,
    added: 40 - before,
    unchanged: before,
  });
  assert.equal(encoded().length, 40 - before);
  assert.deepEqual(
    [told[0], told.at(-1)],
    [
      [0, 40 - before],
      [40 - before, 40 - before],
    ],
  );
  await index.close();
});

test('the patterns of the index count, and an index without a folder has no sync', async () => {
  const { index, ids } = await made({ 'a.jpg': 'a', 'b.png': 'b', 'in/c.png': 'c' }, { include: ['*.png'] });
  await index.sync();
  assert.deepEqual(await ids(), ['b.png']);
  await index.close();
  const encoder = fakeEncoder();
  const store = await FolderStore.create(join(root, 'loose.index'), facts, encoder.scan);
  const loose = await ImageIndex.of(store, encoder);
  await assert.rejects(loose.sync(), /is not of a folder\. Use add and remove instead of sync\.$/);
  await loose.close();
});

test('an index that moved with its folder finds its images', async () => {
  const { folder, index, encoder } = await made({ 'a.jpg': 'a' });
  await index.sync();
  await index.close();
  mkdirSync(join(root, 'moved'));
  const moved = join(root, 'moved', basename(folder));
  renameSync(folder, moved);
  renameSync(`${folder}.index`, `${moved}.index`);
  const again = await ImageIndex.of(await FolderStore.open(`${moved}.index`, encoder.scan), encoder);
  assert.equal((await again.get('a.jpg'))?.path, join(moved, 'a.jpg'));
  assert.equal(statSync(join(moved, 'a.jpg')).size, 1);
  assert.deepEqual(await again.sync(), { ...none, unchanged: 1 });
  await again.close();
});
