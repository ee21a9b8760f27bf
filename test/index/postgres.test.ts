// An index in PostgreSQL: what goes in comes out, several writers, filters in SQL, HNSW beside comparing all.
// Covers index/postgres/store, schema, rows, hnsw, and index/recall.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { at, UserError } from '#blip/errors.js';
import { ImageIndex } from '#blip/index/image-index.js';
import { createPostgresStore, openPostgresStore } from '#blip/index/postgres/store.js';
import type { EmbeddedImage, IndexedImage, IndexStore } from '#blip/index/store.js';
import { temporaryFolder } from '../helpers/files.js';
import { embedded, facts, fakeEncoder, feature } from '../helpers/index-parts.js';
import { startPostgres } from '../helpers/postgres.js';

const started = await startPostgres();
const skip = typeof started === 'string' ? started : false;

function server() {
  if (typeof started === 'string') throw new Error(started);
  return started;
}

let tables = 0;
const address = (more = '') => `${server().address}?table=t${++tables}${more}`;
const some = (from: number, end: number) =>
  Array.from({ length: end - from }, (_, i) => embedded(`image ${String(from + i).padStart(4, '0')}`, from + i));

async function all(store: IndexStore): Promise<IndexedImage[]> {
  const images: IndexedImage[] = [];
  for await (const image of store.images()) images.push(image);
  return images;
}

test('what was added is there, to the bit, also for who opens it later', { skip }, async () => {
  const where = address();
  const store = await createPostgresStore(where, { ...facts, folder: '/p', include: ['**/*.jpg'], keepsTokens: true });
  const images: EmbeddedImage[] = [
    embedded('in/folder.jpg', 1, { path: '/p/in/folder.jpg', size: 2 ** 40, modified: 1_700_000_000_000.25 }),
    embedded('elsewhere', 2, { path: "/else'where/ü\n\\.jpg", size: 0, modified: 0 }),
    embedded('given as bytes\u2028"', 3, { tokens: Uint8Array.of(0, 255, 39, 92) }),
  ];
  await store.append(images);
  await store.close();
  await store.close();
  const again = await openPostgresStore(where);
  assert.deepEqual(again.facts, { ...facts, folder: '/p', include: ['**/*.jpg'], keepsTokens: true });
  assert.equal(await again.count(), 3);
  const plain = images.map(({ id, digest, path, size, modified }) => ({ id, digest, path, size, modified }));
  const ids = images.map(({ id }) => id);
  assert.deepEqual(await again.get([...ids, 'absent', 'not\0here']), [...plain, undefined, undefined]);
  assert.deepEqual(await again.features(['absent', ...ids]), [undefined, ...images.map(({ feature }) => feature)]);
  assert.deepEqual([...((await again.tokens(at(ids, 2))) ?? [])], [0, 255, 39, 92]);
  assert.equal(await again.tokens('elsewhere'), undefined);
  assert.deepEqual(
    await all(again),
    plain.sort((a, b) => (a.id < b.id ? -1 : 1)),
  );
  await again.close();
});

test('images are replaced by id, the later of two stays, and the count follows', { skip }, async () => {
  const store = await createPostgresStore(address(), facts);
  await store.append(some(0, 1200));
  await store.append([embedded('image 0003', 77), embedded('new', 1), embedded('new', 2)]);
  assert.equal(await store.count(), 1201);
  assert.deepEqual(await store.features(['image 0003', 'new']), [feature(77), feature(2)]);
  assert.equal(await store.remove(['image 0000', 'image 0000', 'absent', 'not\0here', 'new']), 2);
  assert.equal(await store.count(), 1199);
  assert.equal((await all(store)).length, 1199);
  await store.append([]);
  assert.equal(await store.remove([]), 0);
  await store.close();
});

test('the nearest are those of a calculation by hand, best first, equal ones by id', { skip }, async () => {
  const store = await createPostgresStore(address(), facts);
  const twins = ['twin b', 'twin ä', 'twin a', 'twin B'].map((id) => embedded(id, 5));
  const images = [...some(0, 300), ...twins];
  await store.append(images);
  const query = feature(5);
  const dot = (other: Float32Array) => other.reduce((sum, value, e) => sum + value * at(query, e), 0);
  const wanted = images
    .map(({ id, feature }) => ({ id, similarity: dot(feature) }))
    .sort((a, b) => b.similarity - a.similarity || (a.id < b.id ? -1 : 1));
  for (const k of [1, 3, 10, 1000]) {
    const found = await store.nearest(query, k);
    assert.deepEqual(
      found.slice(0, 20).map(({ id }) => id),
      wanted.slice(0, Math.min(k, 20)).map(({ id }) => id),
    );
    assert.equal(found.length, Math.min(k, images.length));
    for (const [i, { similarity }] of found.entries())
      assert.ok(Math.abs(similarity - at(wanted, i).similarity) < 1e-6);
  }
  assert.deepEqual(
    (await store.nearest(query, 4)).map(({ id }) => id),
    ['image 0005', 'twin B', 'twin a', 'twin b'],
  );
  await store.close();
});

test('an index is searched, changed and synced as one in a folder', { skip }, async () => {
  const folder = temporaryFolder();
  for (const name of ['a.jpg', 'b.jpg', 'c.jpg']) writeFileSync(join(folder, name), name);
  const encoder = fakeEncoder();
  const store = await createPostgresStore(address(), { ...facts, folder });
  const index = await ImageIndex.of(store, encoder);
  assert.deepEqual(await index.sync(), { added: 3, changed: 0, renamed: 0, removed: 0, unchanged: 0, bad: [] });
  writeFileSync(join(folder, 'b.jpg'), 'other bytes');
  assert.deepEqual(await index.sync(), { added: 0, changed: 1, renamed: 0, removed: 0, unchanged: 2, bad: [] });
  const [hit] = await index.search({ image: join(folder, 'c.jpg') }, { where: "path LIKE '%.jpg'" });
  assert.equal(hit?.id, 'c.jpg');
  assert.equal(hit?.path, join(folder, 'c.jpg'));
  assert.equal((await index.add([{ id: 'bytes', image: Buffer.from('x') }])).added, 1);
  assert.equal(index.size, 4);
  assert.equal(await index.remove(['bytes', 'absent']), 1);
  assert.equal(await index.recall(), undefined);
  await index.compact();
  assert.equal(index.size, 3);
  await index.close();
  await assert.rejects(
    ImageIndex.of(store, fakeEncoder({ fingerprint: 'another', source: 'other.pth' })),
    /model\.pth.*other\.pth/,
  );
});

test('several writers at once lose nothing, and the count is right', { skip }, async () => {
  const where = address();
  // Also all of them make it at once.
  const stores = await Promise.all(Array.from({ length: 4 }, () => createPostgresStore(where, facts)));
  await Promise.all(
    stores.map(async (store, s) => {
      for (let round = 0; round < 5; round++) {
        // Ids of their own, ids that all replace, in orders that meet, and removals.
        const own = some(1000 * (s + 1) + 10 * round, 1000 * (s + 1) + 10 * round + 10);
        const shared = some(0, 50);
        await store.append(s % 2 === 0 ? [...own, ...shared] : [...shared.reverse(), ...own]);
        await store.remove(some(0, 20).map(({ id }) => id));
      }
    }),
  );
  const [store] = stores;
  assert.ok(store);
  const ids = (await all(store)).map(({ id }) => id);
  assert.equal(ids.filter((id) => id >= 'image 1000').length, 200);
  assert.equal(ids.filter((id) => id < 'image 1000' && id >= 'image 0020').length, 30);
  assert.equal(await store.count(), ids.length);
  for (const each of stores) await each.close();
});

test('a filter in SQL leaves out what it says, with all that SQL can write', { skip }, async () => {
  const store = await createPostgresStore(address(), facts);
  const names = ["it's", 'semi;colon', '$1', '$$', '--', '%', 'a"b', 'back\\slash', '/*', '\u2028', "E'\\x27'"];
  await store.append(names.map((id, i) => embedded(id, i, { path: `/p/${id}`, size: i })));
  const found = async (where: string) => (await store.nearest(feature(0), 100, { where })).map(({ id }) => id).sort();
  assert.deepEqual(await found('true'), [...names].sort());
  assert.deepEqual(await found('size >= 9 -- a comment'), names.slice(9).sort());
  assert.deepEqual(await found("path = '/p/it''s'"), ["it's"]);
  assert.deepEqual(await found("id IN ('semi;colon', '$1', '--')"), ['$1', '--', 'semi;colon'].sort());
  assert.deepEqual(await found("digest = 'digest 3' OR modified > 0"), ['$$']);
  // A column of the user's own.
  const table = `t${tables}`;
  await server().query(`ALTER TABLE ${table} ADD camera text; UPDATE ${table} SET camera = 'M6' WHERE size < 2`);
  assert.deepEqual(await found("camera = 'M6'"), ['semi;colon', "it's"].sort());
  await store.append([embedded('$1', 50, { size: 0 })]);
  await store.append([embedded("it's", 50, { size: 0 })]);
  assert.deepEqual(await found("camera = 'M6'"), ['semi;colon', "it's"].sort());
  await store.close();
});

test('a filter that is no condition is refused in a sentence, and none can change anything', { skip }, async () => {
  const where = address();
  const table = `t${tables}`;
  const store = await createPostgresStore(where, facts);
  await store.append(some(0, 5));
  await server().query('CREATE SEQUENCE numbers');
  const function_ = `CREATE FUNCTION wipe() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN DELETE FROM ${table}; RETURN true; END $$`;
  await server().query(function_);
  for (const hostile of [
    '',
    'nothing = 1',
    "id = 'a",
    'id',
    '1 / (length(id) - length(id)) = 1',
    "id = '\0'",
    ')',
    `true); DELETE FROM ${table}; --`,
    `true) AS x; COMMIT; DROP TABLE ${table}; --`,
    'wipe()',
    "nextval('numbers') > 0",
    `id IN (WITH gone AS (DELETE FROM ${table} RETURNING id) SELECT id FROM gone)`,
    `EXISTS (SELECT set_config('transaction_read_only', 'off', true)) AND wipe()`,
  ])
    await assert.rejects(store.nearest(feature(0), 3, { where: hostile }), (error: unknown) => {
      assert.ok(error instanceof UserError, `${hostile}: ${error}`);
      assert.match(error.message, /^The condition in `where` will not do: .*\. It may use id/, hostile);
      assert.equal(error.exitCode, 2);
      return true;
    });
  assert.equal((await all(store)).length, 5);
  assert.equal((await store.nearest(feature(0), 3, { where: 'true' })).length, 3);
  const filter = () => true;
  await assert.rejects(store.nearest(feature(0), 3, { filter }), /`filter` is for an index in a folder/);
  await store.close();
});

test('a signal ends a search that is under way, on the server too', { skip }, async () => {
  const where = address();
  const store = await createPostgresStore(where, facts);
  await store.append(some(0, 5));
  const controller = new AbortController();
  const search = store.nearest(feature(0), 3, { where: 'pg_sleep(20) IS NOT NULL', signal: controller.signal });
  const asleep = `SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid() AND state = 'active'`;
  while ((await server().query(asleep)).length === 0);
  controller.abort(new Error('no longer wanted'));
  await assert.rejects(search, /no longer wanted/);
  while ((await server().query(asleep)).length > 0);
  assert.equal((await store.nearest(feature(0), 3)).length, 3);
  await assert.rejects(store.nearest(feature(0), 3, { signal: controller.signal }), /no longer wanted/);
  await store.close();
});

test('HNSW: what it misses is told, a filter gets all it asked for, and changes are seen', { skip }, async () => {
  const dim = 64;
  const where = address();
  const wide = { ...facts, embedDim: dim };
  const store = await createPostgresStore(`${where}&search=hnsw&ef_search=40`, wide);
  const images = Array.from({ length: 5000 }, (_, i) => ({
    id: `${i}`,
    digest: '',
    size: i,
    feature: feature(i, dim),
  }));
  await store.append(images);
  assert.equal(await store.recall?.(10, 20), undefined, 'without an index all are compared');
  await store.settle?.();
  await store.settle?.();
  const exact = await openPostgresStore(`${where}&search=exact`);
  assert.equal(await exact.recall?.(10, 20), undefined);
  const recall = await store.recall?.(10, 50);
  assert.deepEqual([recall?.top, recall?.queries], [10, 50]);

  // Against all images compared, with queries of our own.
  let same = 0;
  for (let q = 0; q < 50; q++) {
    const query = feature(10_000 + q, dim);
    const right = new Set((await exact.nearest(query, 10)).map(({ id }) => id));
    const found = await store.nearest(query, 10);
    assert.equal(found.length, 10);
    assert.deepEqual(
      found,
      [...found].sort((a, b) => b.similarity - a.similarity),
    );
    same += found.filter(({ id }) => right.has(id)).length;
  }
  // Vectors of no structure: HNSW misses some. Were all compared in secret, or none found, this would tell.
  assert.ok(same > 250 && same < 500, `${same} of 500`);
  assert.ok(
    recall !== undefined && Math.abs(recall.texts - same / 500) < 0.15,
    `${recall?.texts} told, ${same / 500} so`,
  );
  assert.ok(recall.images >= recall.texts);
  const given = await store.recall?.(
    10,
    5,
    Array.from({ length: 50 }, (_, q) => feature(10_000 + q, dim)),
  );
  assert.equal(given?.texts, same / 500);
  const better = await openPostgresStore(`${where}&search=hnsw&ef_search=1000`);
  assert.ok(((await better.recall?.(10, 50))?.texts ?? 0) > recall.texts);

  const query = feature(3, dim);
  for (const condition of ['size % 10 = 3', 'size < 7', 'size = 4999', 'false']) {
    const found = (await store.nearest(query, 10, { where: condition })).map(({ id }) => id);
    const right = (await exact.nearest(query, 10, { where: condition })).map(({ id }) => id);
    assert.equal(found.length, right.length, condition);
    if (right.length < 10) assert.deepEqual(found, right);
  }
  assert.equal((await store.nearest(query, 5000)).length, 5000);
  assert.equal((await store.nearest(query, 400)).length, 400);
  assert.equal(await store.remove(images.slice(0, 4995).map(({ id }) => id)), 4995);
  assert.deepEqual((await store.nearest(query, 10)).map(({ id }) => id).sort(), [
    '4995',
    '4996',
    '4997',
    '4998',
    '4999',
  ]);
  await store.append([embedded('new', 3, { feature: query })]);
  assert.equal((await store.nearest(query, 1))[0]?.id, 'new');
  for (const each of [store, exact, better]) await each.close();
});

test('rows that were removed by hand are counted anew by compact', { skip }, async () => {
  const store = await createPostgresStore(address(), facts);
  await store.append(some(0, 10));
  await server().query(`DELETE FROM t${tables} WHERE id < 'image 0004'`);
  await store.compact();
  assert.equal(await store.count(), 6);
  await store.close();
});

test('images that PostgreSQL cannot hold are refused by name, and nothing of their call is added', {
  skip,
}, async () => {
  const store = await createPostgresStore(address(), facts);
  for (const id of ['nul\0', 'half \ud800', 'long'.repeat(1000)])
    await assert.rejects(store.append([...some(0, 3), embedded(id, 1)]), (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.match(error.message, /PostgreSQL cannot hold an image whose id or path is the text '.*Rename it\.$/);
      return true;
    });
  await assert.rejects(store.append([embedded('path', 1, { path: 'nul\0' })]), /id or path is the text 'nul\\u0000'/);
  await store.append([embedded('é'.repeat(1200), 1), embedded('long path', 1, { path: 'x'.repeat(20_000) })]);
  assert.equal(await store.count(), 2);
  await store.close();
});
