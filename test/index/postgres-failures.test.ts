// What goes wrong with an index in PostgreSQL: each ends in a sentence, and leaves the index whole.
// Covers index/postgres/failures, database and schema.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { createPostgresStore, openPostgresStore } from '#blip/index/postgres/store.js';
import type { IndexStore } from '#blip/index/store.js';
import { projectRoot } from '../helpers/fixtures.js';
import { embedded, facts, feature } from '../helpers/index-parts.js';
import { PASSWORD, startPostgres } from '../helpers/postgres.js';
import { runNodeWith } from '../helpers/run-node.js';

const started = await startPostgres();
const skip = typeof started === 'string' ? started : false;

function server() {
  if (typeof started === 'string') throw new Error(started);
  return started;
}

let tables = 0;
const address = () => `${server().address}?table=t${++tables}`;

/** Fails with one sentence or two for the user, without the password, in which `says` is found. */
async function fails(work: Promise<unknown>, says: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof UserError, `${error}`);
    assert.match(error.message, says);
    assert.match(error.message, /^[A-Z].*\.$|^postgres:.*\.$/);
    for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), 's3cret']) assert.ok(!error.message.includes(secret));
    return true;
  });
}

test('no server, no database, no such user, a wrong password', { skip }, async () => {
  const at = (user: string, more = 'postgres') => `postgres://${user}@127.0.0.1:${server().port}/${more}`;
  await fails(
    openPostgresStore('postgres://u:s3cret@127.0.0.1:9/d'),
    /does not answer at postgres:\/\/u@127.0.0.1:9\/d/,
  );
  await fails(openPostgresStore('postgres://u:s3cret@/d?host=/nowhere'), /does not answer.*ENOENT.*Check that it runs/);
  await fails(openPostgresStore(at('blip:s3cret')), /lets nobody in.*Check the user and the password\. Set PGPASSWORD/);
  await fails(openPostgresStore(at('stranger:s3cret')), /lets nobody in/);
  await fails(
    openPostgresStore(at(`blip:${encodeURIComponent(PASSWORD)}`, 'nothing')),
    /"nothing" does not exist.*createdb/,
  );
  await fails(openPostgresStore(`${server().address}?sslmode=verify-full`), /has no TLS.*sslmode=disable/);
  const env = { ...process.env, PGPASSWORD: undefined, PGPASSFILE: '/nowhere' };
  const { stdout } = await runNodeWith(
    [
      '--input-type=module',
      '-e',
      `import { openPostgresStore } from '#blip/index/postgres/store.js';
       await openPostgresStore(${JSON.stringify(at('blip'))}).catch((error) => console.log(error.name, error.message));`,
    ],
    { cwd: projectRoot, env },
  );
  assert.match(stdout, /^UserError PostgreSQL asks for a password, and postgres:\/\/blip@.* has none\. Set PGPASSWORD/);
});

test('a table of something else, and none', { skip }, async () => {
  await fails(openPostgresStore(address()), /There is no index at postgres:.*\?table=t\d+\. Make one with createIndex/);
  const other = address();
  await server().query(`CREATE TABLE t${tables} (id text)`);
  await fails(openPostgresStore(other), /is a table of something else\. Name another/);
  await fails(createPostgresStore(other, facts), /is a table of something else/);
  await server().query(`CREATE TABLE t${tables}_facts (format text, version int, facts json, images bigint)`);
  await fails(createPostgresStore(other, facts), /is a table of something else/);
  await server().query(`INSERT INTO t${tables}_facts VALUES ('blip-retrieval index', 2, '{}', 0)`);
  await fails(openPostgresStore(other), /is of version 2, and this program knows 1\. Update blip-retrieval/);
  await server().query(`UPDATE t${tables}_facts SET version = 1`);
  await fails(openPostgresStore(other), /is of version 1/);
  // One that is made twice is opened, with the facts that it has.
  const twice = address();
  await (await createPostgresStore(twice, facts)).close();
  const again = await createPostgresStore(twice, { ...facts, fingerprint: 'another' });
  assert.deepEqual(again.facts, facts);
  await again.close();
});

test('a server without pgvector, and a user who may not add it', { skip }, async () => {
  await server().query(`CREATE ROLE guest LOGIN PASSWORD 's3cret'`);
  await server().query('CREATE DATABASE bare');
  const bare = (user: string) => `postgres://${user}@127.0.0.1:${server().port}/bare`;
  const owner = `blip:${encodeURIComponent(PASSWORD)}`;
  await fails(
    createPostgresStore(bare('guest:s3cret'), facts),
    /may not create the extension pgvector.*CREATE EXTENSION/,
  );
  // In a schema of its own, as some hosts have it.
  const store = await createPostgresStore(bare(owner), facts);
  await store.append([embedded('a', 1)]);
  await store.close();
  await fails(openPostgresStore(bare('guest:s3cret')), /may not do that: permission denied/);
});

test('pgvector in a schema outside the search path; a table in a schema of its own', { skip }, async () => {
  await server().query('CREATE DATABASE hosted');
  const hosted = server().address.replace(/postgres$/, 'hosted');
  const client = await import('pg').then(({ default: pg }) => new pg.Client({ connectionString: hosted }));
  await client.connect();
  await client.query('CREATE SCHEMA "Ext"; CREATE EXTENSION vector SCHEMA "Ext"; CREATE SCHEMA mine');
  const store = await createPostgresStore(`${hosted}?table=mine.Photos&search=hnsw`, facts);
  await store.append([embedded('a', 1), embedded('b', 2)]);
  await store.settle?.();
  assert.deepEqual(await store.features(['b']), [feature(2)]);
  assert.equal((await store.nearest(feature(2), 1))[0]?.id, 'b');
  const { rows } = await client.query(
    `SELECT indisvalid FROM pg_index WHERE indexrelid = 'mine."Photos_hnsw"'::regclass`,
  );
  assert.deepEqual(rows, [{ indisvalid: true }]);
  await client.end();
  await store.close();
});

test('who may only read searches, and is told that more is not allowed', { skip }, async () => {
  const where = address();
  const owner = await createPostgresStore(where, facts);
  await owner.append([embedded('a', 1), embedded('b', 2)]);
  await server().query(`CREATE ROLE reader LOGIN PASSWORD 's3cret'`);
  await server().query(`GRANT SELECT ON t${tables}, t${tables}_facts TO reader`);
  const reader = await openPostgresStore(
    `postgres://reader:s3cret@127.0.0.1:${server().port}/postgres?table=t${tables}`,
  );
  assert.equal((await reader.nearest(feature(2), 1, { where: "id = 'b'" }))[0]?.id, 'b');
  assert.equal(await reader.count(), 2);
  await fails(reader.append([embedded('c', 3)]), /may not do that: permission denied for table.*Ask the owner/);
  await fails(reader.remove(['a']), /may not do that/);
  await fails(
    reader.nearest(feature(1), 1, { where: 'EXISTS (SELECT FROM pg_authid)' }),
    /will not do: permission denied/,
  );
  for (const store of [owner, reader]) await store.close();
});

test('a writer killed by -9 in the middle leaves whole changes, and the index goes on', { skip }, async () => {
  const where = address();
  const store = await createPostgresStore(where, facts);
  // Each call of the writer adds 600 images, in two statements, and all have the call's number.
  const code = `
    import { openPostgresStore } from '#blip/index/postgres/store.js';
    const store = await openPostgresStore(process.env.ADDRESS);
    const feature = new Float32Array(${facts.embedDim}); feature[0] = 1;
    for (let call = 0; ; call++) {
      await store.append(Array.from({ length: 600 }, (_, i) => ({ id: call + ' ' + i, digest: '', size: call, feature })));
      console.log(call);
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    ...{ cwd: projectRoot, env: { ...process.env, ADDRESS: where }, stdio: ['ignore', 'pipe', 'inherit'] as const },
  });
  let said = '';
  for await (const text of child.stdout.setEncoding('utf8')) {
    said += text;
    if (said.split('\n').length > 3) break;
  }
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  const backends = `SELECT 1 FROM pg_stat_activity WHERE application_name = 'blip-retrieval' AND state <> 'idle'`;
  while ((await server().query(backends)).length > 0);
  const counts = await server().query<{ n: number }>(`SELECT count(*)::int AS n FROM t${tables} GROUP BY size`);
  assert.ok(counts.length >= 3);
  assert.deepEqual(new Set(counts.map(({ n }) => n)), new Set([600]));
  assert.equal(await store.count(), 600 * counts.length);
  await store.append([embedded('afterwards', 1)]);
  assert.equal(await store.count(), 600 * counts.length + 1);
  await store.close();
});

test('a builder of HNSW who is stopped: searches compare all, and the next builder begins anew', { skip }, async () => {
  const where = `${address()}&search=hnsw`;
  const store = await createPostgresStore(where, facts);
  await store.append(Array.from({ length: 3000 }, (_, i) => embedded(`${i}`, i)));
  // Building waits for an older transaction, until it is cancelled.
  const { default: pg } = await import('pg');
  const older = new pg.Client({ connectionString: server().address });
  await older.connect();
  await older.query(`BEGIN; LOCK TABLE t${tables} IN ROW EXCLUSIVE MODE`);
  const controller = new AbortController();
  const building = store.settle?.(controller.signal);
  const builds = `SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND state = 'active'`;
  while ((await server().query(builds)).length === 0);
  // Another one does not wait for the first.
  const other = await openPostgresStore(where);
  await other.settle?.();
  controller.abort(new Error('no longer wanted'));
  await assert.rejects(building ?? Promise.resolve(), /no longer wanted/);
  while ((await server().query(builds)).length > 0);
  await older.query('COMMIT');
  await older.end();
  assert.equal(await store.recall?.(10, 5), undefined);
  assert.equal((await store.nearest(feature(7), 1))[0]?.id, '7');
  await other.settle?.();
  assert.notEqual(await other.recall?.(10, 5), undefined);
  for (const each of [store, other]) await each.close();
});

test('tables that go in the middle are told of', { skip }, async () => {
  const store = await createPostgresStore(address(), facts);
  await server().query(`DROP TABLE t${tables}, t${tables}_facts`);
  await fails(store.count(), /The tables of .* have gone.*Make the index again/);
  await fails(store.nearest(feature(1), 1, { where: 'true' }), /have gone/);
  await fails(store.append([embedded('a', 1)]), /have gone/);
  await store.close();
});

test('a server that stops: calls fail in a sentence, what was committed stays, and the next call finds it again', {
  skip,
}, async () => {
  const store: IndexStore = await createPostgresStore(address(), facts);
  await store.append([embedded('a', 1), embedded('b', 2)]);
  const asleep = store.nearest(feature(1), 1, { where: 'pg_sleep(20) IS NOT NULL' });
  const lost = fails(asleep, /connection to postgres:\/\/.* was lost .*try again\.$/);
  while (
    (await server().query(`SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND state = 'active'`))
      .length < 2
  );
  await server().kill();
  await lost;
  await fails(store.count(), /does not answer|was lost/);
  await fails(store.append([embedded('c', 3)]), /does not answer|was lost/);
  await server().start();
  assert.equal(await store.count(), 2);
  assert.equal((await store.nearest(feature(2), 1))[0]?.id, 'b');
  await store.close();
});

test('without the package pg the command that installs it is named', async () => {
  // A loader that knows no pg stands in for a project that has none.
  const loader = `export async function resolve(name, context, next) {
    if (name === 'pg') throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
    return next(name, context);
  }`;
  const url = `data:text/javascript,${encodeURIComponent(loader)}`;
  const code = `
    import { register } from 'node:module';
    register(${JSON.stringify(url)});
    const { openPostgresStore } = await import('#blip/index/postgres/store.js');
    await openPostgresStore('postgres://u@h/d').catch((error) => console.log(error.name, error.message));`;
  const { stdout, stderr } = await runNodeWith(['--input-type=module', '-e', code], { cwd: projectRoot });
  assert.match(
    stdout,
    /^UserError An index in PostgreSQL needs the package pg.*Install it: npm install pg\.$/m,
    stderr,
  );
});
