// Indexes that are damaged or made to harm: a sentence, whatever is in the files, and nothing outside the folder is touched.
// Covers index/manifest, segments, rows, folder-store.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { at, UserError } from '#blip/errors.js';
import { FolderStore } from '#blip/index/folder-store.js';
import { temporaryFolder } from '../helpers/files.js';
import { embedded, facts, feature, localScan } from '../helpers/index-parts.js';

const folder = temporaryFolder();
const sound = join(folder, 'sound.index');
let copies = 0;
/** A copy of the sound index, of two segments, the first with tombstones. */
function copy(): {
  index: string;
  file: (ending: string) => string;
  manifest: (change: (text: string) => string) => void;
} {
  const index = join(folder, `${++copies}.index`);
  cpSync(sound, index, { recursive: true });
  const file = (ending: string) => {
    const names = readdirSync(join(index, 'segments')).filter((name) => name.endsWith(ending));
    return join(index, 'segments', at(names.sort(), 0));
  };
  const path = join(index, 'manifest.json');
  return { index, file, manifest: (change) => writeFileSync(path, change(readFileSync(path, 'utf8'))) };
}

before(async () => {
  const store = await FolderStore.create(sound, facts, localScan());
  await store.append(Array.from({ length: 10 }, (_, i) => embedded(`image ${i}`, i)));
  await store.append([embedded('other', 99)]);
  await store.remove(['image 3']);
  await store.close();
});

/** Does everything that reads. */
async function readAll(index: string): Promise<void> {
  const store = await FolderStore.open(index, localScan());
  try {
    const ids: string[] = [];
    for await (const { id } of store.images()) ids.push(id);
    await store.get(ids);
    await store.features(ids);
    await store.tokens('image 1');
    await store.nearest(feature(1), 5);
    await store.nearest(feature(1), 5, { filter: () => true });
  } finally {
    await store.close();
  }
}

const json = (change: (manifest: Record<string, unknown>) => void) => (text: string) => {
  const manifest: Record<string, unknown> = JSON.parse(text);
  change(manifest);
  return JSON.stringify(manifest);
};
const segments = (text: string) => /"segments": \[[\s\S]*\]/.exec(text)?.[0] ?? '';

const manifests: [what: string, change: (text: string) => string, message: RegExp][] = [
  ['no JSON', () => '{"format": ', /manifest\.json is damaged: it is no JSON\. Make the index again\.$/],
  ['nothing', () => '', /it is no JSON/],
  ['a list', () => '[]', /is not of an index\. Name the folder of an index/],
  ['another format', (text) => text.replace('blip-retrieval index', 'x'), /is not of an index/],
  [
    'a later version',
    (text) => text.replace('"version": 1', '"version": 2'),
    /index of version 2, and this program reads version 1/,
  ],
  ['facts that are none', json((m) => (m.facts = 5)), /is damaged \(at facts\)/],
  [
    'an embedDim of 0',
    json((m) => Object.assign(m.facts as object, { embedDim: 0 })),
    /is damaged \(at facts\.embedDim\)/,
  ],
  [
    'another embedDim',
    json((m) => Object.assign(m.facts as object, { embedDim: 256 })),
    /does not hold 10 features of 256/,
  ],
  ['no segments', json((m) => delete m.segments), /is damaged \(at segments\)/],
  [
    'a name that leads out',
    (text) => text.replace(/"name": "/, '"name": "../../'),
    /is damaged \(at segments\.0\.name\)/,
  ],
  ['an absolute name', (text) => text.replace(/"name": "/, '"name": "/'), /is damaged/],
  ['tombstones that lead out', (text) => text.replace(/"tombstones": "/, '"tombstones": "../'), /is damaged/],
  [
    'a segment twice',
    (text) => text.replace(segments(text), segments(text).replace(/\[([\s\S]*)\]/, '[$1,$1]')),
    /is damaged/,
  ],
  ['more rows', (text) => text.replace('"rows": 10', '"rows": 11'), /has 10 rows instead of 11|damaged/],
  ['2^31 rows', (text) => text.replace('"rows": 10', '"rows": 2147483647'), /damaged/],
  [
    '2^53 rows',
    (text) => text.replace('"rows": 10', '"rows": 9007199254740991'),
    /is damaged \(at segments\.0\.rows\)/,
  ],
  ['a negative number of rows', (text) => text.replace('"rows": 10', '"rows": -10'), /is damaged/],
  ['rows of zero', (text) => text.replace('"rows": 10', '"rows": 0'), /is damaged/],
  ['fewer removed', (text) => text.replace('"removed": 1', '"removed": 2'), /does not mark 2 of 10 rows/],
  ['more removed than rows', (text) => text.replace('"removed": 1', '"removed": 11'), /is damaged/],
  [
    'a segment that is not there',
    (text) => text.replace(/"name": "000001/, '"name": "000009'),
    /a file of its segments is missing/,
  ],
  ['depth', () => '['.repeat(200_000), /damaged/],
];
for (const [what, change, message] of manifests)
  test(`a manifest with ${what} is refused by a sentence`, async () => {
    const { index, manifest } = copy();
    manifest(change);
    await assert.rejects(readAll(index), (error) => {
      assert.ok(error instanceof UserError, String(error));
      assert.match(error.message, message);
      assert.ok(error.message.length < 400);
      return true;
    });
  });

test('what an index is not', async () => {
  const says = (path: string, message: RegExp) =>
    assert.rejects(FolderStore.open(join(folder, path), localScan()), (error) => {
      assert.ok(error instanceof UserError);
      assert.match(error.message, message);
      return true;
    });
  writeFileSync(join(folder, 'a file'), '');
  mkdirSync(join(folder, 'a folder'));
  mkdirSync(join(folder, 'odd/manifest.json'), { recursive: true });
  await says('nothing', /^There is no index at .*nothing\. Make one with createIndex, or check the path\.$/);
  await says('a folder', /^There is no index at /);
  await says('a file', /is a file, not the folder of an index/);
  await says('odd', /manifest\.json cannot be read/);
});

const files: [what: string, harm: (files: ReturnType<typeof copy>) => void][] = [
  ['rows that are cut short', ({ file }) => truncateSync(file('.jsonl'), 100)],
  ['rows without an end', ({ file }) => truncateSync(file('.jsonl'), readFileSync(file('.jsonl')).length - 1)],
  ['rows of zeros', ({ file }) => writeFileSync(file('.jsonl'), `${'\0\n'.repeat(10)}`)],
  ['rows that are lists', ({ file }) => writeFileSync(file('.jsonl'), '[]\n'.repeat(10))],
  ['rows without an id', ({ file }) => writeFileSync(file('.jsonl'), '{"digest":"a"}\n'.repeat(10))],
  [
    'rows with an odd path',
    ({ file }) => writeFileSync(file('.jsonl'), '{"id":"a","digest":"a","path":5}\n'.repeat(10)),
  ],
  ['a line of a megabyte', ({ file }) => writeFileSync(file('.jsonl'), `${'x'.repeat(2 ** 20)}\n`.repeat(10))],
  ['no rows', ({ file }) => rmSync(file('.jsonl'))],
  ['features that are cut short', ({ file }) => truncateSync(file('.safetensors'), 300)],
  ['no features', ({ file }) => rmSync(file('.safetensors'))],
  [
    'features of another type',
    ({ file }) =>
      writeFileSync(
        file('.safetensors'),
        readFileSync(file('.safetensors')).toString('latin1').replace('F32', 'I32'),
        'latin1',
      ),
  ],
  [
    'features that are no numbers',
    ({ file }) => {
      const bytes = readFileSync(file('.safetensors'));
      writeFileSync(file('.safetensors'), bytes.fill(0xff, bytes.length - 64));
    },
  ],
  ['tombstones that are cut short', ({ file }) => truncateSync(file('.removed'), 3)],
  ['tombstones of other values', ({ file }) => writeFileSync(file('.removed'), Buffer.alloc(10, 2))],
  ['no tombstones', ({ file }) => rmSync(file('.removed'))],
  [
    'a folder for a file',
    ({ file }) => {
      const path = file('.jsonl');
      rmSync(path);
      mkdirSync(path);
    },
  ],
];
for (const [what, harm] of files)
  test(`${what}: the index is called damaged`, async () => {
    const parts = copy();
    harm(parts);
    await assert.rejects(readAll(parts.index), (error) => {
      assert.ok(error instanceof UserError, String(error));
      assert.match(error.message, /damaged|does not hold|Make the index again/);
      return true;
    });
  });

test('ids that would lead out of the folder have no path', async () => {
  const index = join(folder, `${++copies}.index`);
  const store = await FolderStore.create(index, { ...facts, folder: join(folder, 'photos') }, localScan());
  await store.append([embedded('a.jpg', 1)]);
  const [name = ''] = readdirSync(join(index, 'segments')).filter((file) => file.endsWith('.jsonl'));
  const path = join(index, 'segments', name);
  for (const id of ['../../etc/passwd', '/etc/passwd', 'a/../../b', 'a\0b']) {
    writeFileSync(path, `${JSON.stringify({ id, digest: 'x' })}\n`);
    const reader = await FolderStore.open(index, localScan());
    const [image] = await reader.get([id]);
    assert.deepEqual([image?.id, image?.path], [id, undefined]);
    await reader.close();
  }
  await store.close();
});

test('a writer removes nothing outside `segments`', async () => {
  const { index } = copy();
  const keep = join(index, 'notes.txt');
  writeFileSync(keep, 'mine');
  const store = await FolderStore.open(index, localScan());
  await store.append([embedded('x', 1)]);
  await store.close();
  assert.ok(existsSync(keep));
});
