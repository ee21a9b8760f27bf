// Times of a search among many features, and what it misses: the figures of docs/search.md.
//
//   node bench/index_search.mjs exact     ROWS random|clustered
//   node bench/index_search.mjs postgres  ROWS random|clustered postgres://…   (tables are made, and dropped at the end)
//   npx -p node@22 -p sqlite-vec node bench/index_search.mjs sqlite-vec ROWS random|clustered
//
// `exact` is the search of an index in a folder. `random`: unit vectors of every direction, the worst case. `clustered`:
// 2,000 centres with noise. 256 wide, the 10 nearest. Queries are drawn like the rows, and are none of them.
// `cpu` is milliseconds of the processor for each query, with BLIP_BENCH_SERVER, the process of a PostgreSQL on this machine,
// those of the server too. Vectors are drawn once, into BLIP_BENCH_FOLDER (the system's temporary folder by default).
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [engine, count = '10000', kind = 'random', address] = process.argv.slice(2);
const rows = Number(count);
const width = 256;
const top = 10;
const folder = process.env.BLIP_BENCH_FOLDER ?? join(tmpdir(), 'blip-bench');
mkdirSync(folder, { recursive: true });

// ---- vectors

/** Standard normal numbers, the same each time. */
function normals(seed) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x9e3779b9) | 0;
    let t = state ^ (state >>> 16);
    t = Math.imul(t, 0x21f0aaad);
    t ^= t >>> 15;
    t = Math.imul(t, 0x735a2d97);
    return ((t ^ (t >>> 15)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

function unit(vector) {
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}

/** Draws one vector after another. `seed` 1 for rows, 2 for queries: of the same centres. */
function drawer(seed) {
  const normal = normals(seed);
  const direction = (random) => unit(Float32Array.from({ length: width }, random));
  if (kind === 'random') return () => direction(normal);
  const ofCentres = normals(7);
  const centres = Array.from({ length: 2000 }, () => direction(ofCentres));
  let drawn = 0;
  return () => {
    const centre = centres[drawn++ % centres.length];
    return unit(centre.map((value) => value + (0.7 * normal()) / Math.sqrt(width)));
  };
}

/** A safetensors file with `features` (rows, width). */
function vectors() {
  const path = join(folder, `${kind}-${rows}.safetensors`);
  if (existsSync(path)) return path;
  const json = JSON.stringify({
    features: { dtype: 'F32', shape: [rows, width], data_offsets: [0, rows * width * 4] },
  });
  const header = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = openSync(`${path}.part`, 'w');
  writeSync(file, Buffer.concat([length, header]));
  const draw = drawer(1);
  for (let row = 0; row < rows; row++) writeSync(file, new Uint8Array(draw().buffer));
  closeSync(file);
  renameSync(`${path}.part`, path);
  return path;
}

function queries(number) {
  const draw = drawer(2);
  return Array.from({ length: number }, draw);
}

function readRows(path) {
  const bytes = readFileSync(path);
  const start = bytes.byteOffset + 8 + Number(bytes.readBigUInt64LE(0));
  return (row) => new Float32Array(bytes.buffer.slice(start + row * width * 4, start + (row + 1) * width * 4));
}

// ---- measurement

/** Seconds that the server of BLIP_BENCH_SERVER and its processes, also those that have ended, have computed. */
function serverSeconds() {
  const server = process.env.BLIP_BENCH_SERVER;
  if (server === undefined) return 0;
  let ticks = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ')
        .map(Number);
      if (pid === server) ticks += fields[11] + fields[12] + fields[13] + fields[14];
      else if (String(fields[1]) === server) ticks += fields[11] + fields[12];
    } catch {
      // It has ended meanwhile.
    }
  }
  return ticks / 100;
}

async function timed(search, asked) {
  for (const query of asked.slice(0, 3)) await search(query);
  const times = [];
  const cpu = process.cpuUsage();
  const server = serverSeconds();
  for (const query of asked) {
    const start = performance.now();
    await search(query);
    times.push(performance.now() - start);
  }
  const { user, system } = process.cpuUsage(cpu);
  times.sort((a, b) => a - b);
  const ms = (value) => Number(value.toFixed(2));
  return {
    min: ms(times[0]),
    p50: ms(times[Math.floor(times.length / 2)]),
    p95: ms(times[Math.floor(times.length * 0.95)]),
    cpu: ms(((user + system) / 1000 + 1000 * (serverSeconds() - server)) / asked.length),
  };
}

const show = (what, values) => console.log(JSON.stringify({ engine, rows, kind, what, ...values }));

/** Seconds since it was made, of the clock and of the processor. */
function stopwatch() {
  const start = performance.now();
  const cpu = process.cpuUsage();
  const server = serverSeconds();
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    const tenths = (value) => Number(value.toFixed(1));
    return {
      seconds: tenths((performance.now() - start) / 1000),
      cpuSeconds: tenths((user + system) / 1e6 + serverSeconds() - server),
    };
  };
}

// ---- engines

async function exact() {
  const { ExactScan } = await import('#blip/index/exact.js');
  const scan = new ExactScan();
  const segments = [{ path: vectors(), rows }];
  const search = async (query) => scan.nearest({ index: 1, segments, query, k: top });
  show('search', await timed(search, queries(rows > 500_000 ? 50 : 200)));
}

async function sqliteVec() {
  const { DatabaseSync } = await import('node:sqlite');
  const { getLoadablePath } = createRequire(join(process.cwd(), 'x.js'))(process.env.SQLITE_VEC ?? 'sqlite-vec');
  const path = join(folder, `${kind}-${rows}.sqlite`);
  rmSync(path, { force: true });
  const database = new DatabaseSync(path, { allowExtension: true });
  database.loadExtension(getLoadablePath());
  database.exec(`CREATE VIRTUAL TABLE v USING vec0(feature float[${width}] distance_metric=cosine)`);
  const row = readRows(vectors());
  const insert = database.prepare('INSERT INTO v (rowid, feature) VALUES (?, ?)');
  const watch = stopwatch();
  database.exec('BEGIN');
  for (let r = 0; r < rows; r++) insert.run(BigInt(r + 1), new Uint8Array(row(r).buffer));
  database.exec('COMMIT');
  show('build', { ...watch(), megabytes: Math.round(statSync(path).size / 1e6) });
  const select = database.prepare(`SELECT rowid, distance FROM v WHERE feature MATCH ? AND k = ${top}`);
  const search = async (query) => select.all(new Uint8Array(query.buffer));
  show('search', await timed(search, queries(rows > 500_000 ? 30 : 100)));
  database.close();
  rmSync(path);
}

async function postgres() {
  const { createPostgresStore, openPostgresStore } = await import('#blip/index/postgres/store.js');
  const { default: pg } = await import('pg');
  const table = `bench_${kind}_${rows}`;
  const at = (search) => `${address}${address.includes('?') ? '&' : '?'}table=${table}&${search}`;
  const facts = { fingerprint: 'bench', source: 'bench', imageSize: 384, embedDim: width, keepsTokens: false };
  const client = new pg.Client({ connectionString: address });
  await client.connect();
  const drop = () => client.query(`DROP TABLE IF EXISTS "${table}", "${table}_facts"`);
  const sizeOf = async (name) => {
    const { rows } = await client.query('SELECT pg_total_relation_size($1::regclass)::float8 AS bytes', [name]);
    return Math.round(rows[0].bytes / 1e6);
  };
  await drop();
  const exactStore = await createPostgresStore(at('search=exact'), facts);
  const row = readRows(vectors());
  let watch = stopwatch();
  for (let r = 0; r < rows; r += 1000) {
    const part = Array.from({ length: Math.min(1000, rows - r) }, (_, i) => r + i);
    await exactStore.append(
      part.map((i) => ({
        id: `images/${i}.jpg`,
        path: `/photos/images/${i}.jpg`,
        size: 1e5,
        modified: 1,
        digest: '0'.repeat(64),
        feature: row(i),
      })),
    );
  }
  show('load', { ...watch(), megabytes: await sizeOf(table) });
  watch = stopwatch();
  await exactStore.compact();
  show('vacuum', { ...watch() });
  const asked = queries(rows > 500_000 ? 30 : 100);
  show('exact', await timed((query) => exactStore.nearest(query, top), asked));
  const right = [];
  for (const query of asked) right.push(new Set((await exactStore.nearest(query, top)).map(({ id }) => id)));
  const builder = await openPostgresStore(at('search=hnsw'));
  watch = stopwatch();
  await builder.settle();
  show('hnsw build', { ...watch(), megabytes: await sizeOf(`${table}_hnsw`) });
  for (const ef of [40, 100, 400, 1000]) {
    const store = await openPostgresStore(at(`search=hnsw&ef_search=${ef}`));
    let found = 0;
    for (const [q, query] of asked.entries())
      found += (await store.nearest(query, top)).filter(({ id }) => right[q].has(id)).length;
    const recall = Number((found / top / asked.length).toFixed(3));
    const own = await store.recall(top, 16);
    show('hnsw', {
      ef,
      recall,
      toldImages: own?.images,
      toldTexts: own?.texts,
      ...(await timed((query) => store.nearest(query, top), asked)),
    });
    await store.close();
  }
  const filtered = { where: "id LIKE '%7.jpg'" };
  show('hnsw, filter of about a tenth', await timed((query) => builder.nearest(query, top, filtered), asked));
  watch = stopwatch();
  const more = Array.from({ length: 1000 }, (_, i) => ({ id: `new/${i}`, digest: '0'.repeat(64), feature: row(i) }));
  await builder.append(more);
  show('append 1,000 with hnsw', { ...watch() });
  await Promise.all([builder.close(), exactStore.close()]);
  if (process.env.BLIP_BENCH_KEEP === undefined) await drop();
  await client.end();
}

const engines = { exact, 'sqlite-vec': sqliteVec, postgres };
if (!(engine in engines)) throw new Error(`Give one of ${Object.keys(engines).join(', ')}.`);
await engines[engine]();
