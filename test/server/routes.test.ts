// The routes of the server: what they answer, and what they refuse. Covers server, routes, schemas, body, gate, files, openapi.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { at } from '#blip/errors.js';
import type { RunningServer } from '#blip/server/server.js';
import { temporaryFolder } from '../helpers/files.js';
import { type Opened, openTiny, post, printed, rows, serveTiny } from './ask.js';

const folder = temporaryFolder();
let tiny: Opened;
let server: RunningServer;
let url: string;

before(async () => {
  tiny = await openTiny(folder);
  server = await serveTiny(tiny);
  url = server.url;
});
after(async () => {
  await server.close();
  await tiny.blip.close();
});

interface Found {
  hits: { id: string; similarity: number; probability?: number }[];
}
const { image: anImage } = at(rows, 0);
const bytesOf = (image: string) => readFileSync(join(tiny.photos, image));
const dataOf = (image: string) => `data:image/png;base64,${bytesOf(image).toString('base64')}`;

test('/search answers as the index does, by text, image, bytes, vector and id', async () => {
  const text = at(rows, 1).caption[0] ?? '';
  const expected = await tiny.index.search(text, { top: 5, rerank: 3 });
  const { status, body } = await post(`${url}/search`, { text, k: 5, rerank: 3 });
  assert.equal(status, 200);
  const { hits } = body as Found;
  assert.deepEqual(
    hits.map(({ id }) => id),
    expected.map(({ id }) => id),
  );
  assert.equal(hits.filter(({ probability }) => probability !== undefined).length, 3);
  assert.ok(!JSON.stringify(body).includes(folder), 'paths of the machine are not told');
  const vector = [...(await tiny.blip.embedImage(join(tiny.photos, anImage)))];
  const queries = [
    { image: dataOf(anImage) },
    { image: bytesOf(anImage).toString('base64') },
    { vector },
    { id: anImage },
  ];
  for (const query of queries) {
    const told = await post(`${url}/search`, { ...query, k: 1 });
    assert.equal((told.body as Found).hits[0]?.id, anImage, JSON.stringify(told.body));
  }
  const raw = await post(`${url}/search?k=2`, bytesOf(anImage));
  assert.deepEqual([(raw.body as Found).hits.length, (raw.body as Found).hits[0]?.id], [2, anImage]);
  const filtered = await post(`${url}/search`, { text, filter: { prefix: anImage } });
  assert.deepEqual(
    (filtered.body as Found).hits.map(({ id }) => id),
    [anImage],
  );
});

test('/embed and /v1/embeddings give the features of texts and images', async () => {
  const [feature] = await tiny.blip.embedTexts(['a dog']);
  const near = (values: ArrayLike<number>) =>
    assert.ok(feature?.every((value, i) => Math.abs(value - at(values, i)) < 1e-5));
  const { body } = await post(`${url}/embed`, { inputs: ['a dog', { image: dataOf(anImage) }] });
  near(at(body as number[][], 0));
  assert.equal((body as number[][]).length, 2);
  const openai = await post(`${url}/v1/embeddings`, { input: 'a dog', model: 'blip', encoding_format: 'base64' });
  const { data, model } = openai.body as { model: string; data: { embedding: string }[] };
  assert.equal(model, 'blip');
  const bytes = Buffer.from(at(data, 0).embedding, 'base64');
  near(new Float32Array(Uint8Array.from(bytes).buffer));
  const image = await post(`${url}/v1/embeddings`, { input: [dataOf(anImage)], modality: 'image' });
  assert.equal(image.status, 200);
});

test('/rerank matches texts with an image and images with a text, best first', async () => {
  const texts = ['a dog', 'two cats', 'a red bus'];
  const matches = await tiny.blip.match(join(tiny.photos, anImage), texts);
  for (const query of [{ image: dataOf(anImage) }, { id: anImage }]) {
    const { body } = await post(`${url}/rerank`, { query, texts, return_text: true });
    const ranked = body as { index: number; score: number; text: string }[];
    assert.equal(ranked.length, 3);
    for (const { index, score, text } of ranked) {
      assert.ok(Math.abs(score - at(matches, index).probability) < 1e-5);
      assert.equal(text, texts[index]);
    }
    assert.ok(at(ranked, 0).score >= at(ranked, 2).score);
  }
  const images = [dataOf(anImage), { id: at(rows, 1).image }];
  const { status, body } = await post(`${url}/rerank`, { query: 'a dog', images, raw_scores: true });
  assert.deepEqual([status, (body as unknown[]).length], [200, 2]);
});

test('what will not do is refused with a sentence', async () => {
  const cases: [path: string, body: unknown, status: number, sentence: RegExp][] = [
    ['/search', '{"text": ', 400, /not JSON/],
    ['/search', '[]', 400, /will not do/],
    ['/search', {}, 400, /Give one of `text`/],
    ['/search', { text: 'a', image: 'b' }, 400, /Give one of/],
    ['/search', { text: '' }, 400, /empty/],
    ['/search', { text: 'a'.repeat(2001) }, 400, /more than 2000 characters/],
    ['/search', { text: 'a', k: 0 }, 400, /`k` will not do/],
    ['/search', { text: 'a', tpo: 3 }, 400, /tpo/],
    ['/search', { id: anImage, rerank: 3 }, 400, /Only a search by `text`/],
    ['/search', { id: '../../etc/passwd' }, 404, /no image of this id/],
    ['/search', { vector: [1, 2] }, 400, /Give \d+ numbers/],
    ['/search', { image: 'http://169.254.169.254/latest' }, 400, /fetches none/],
    ['/search', { image: 'file:///etc/passwd' }, 400, /fetches none/],
    ['/search', { image: 'data:image/png,abc' }, 400, /without base64/],
    ['/search', { image: 'no base64 at all!' }, 400, /not base64/],
    ['/search', { image: Buffer.from('no image').toString('base64') }, 400, /image/],
    ['/search', bytesOf(anImage).subarray(0, 40), 400, /image/],
    ['/search', { image: 'A'.repeat(2 ** 20) }, 413, /larger than/],
    ['/search', `[${'0,'.repeat(150_000)}0]`, 413, /more than 100000 values/],
    ['/embed', { inputs: Array.from({ length: 33 }, () => 'a') }, 400, /32/],
    ['/embed', { inputs: 3 }, 400, /inputs/],
    ['/rerank', { query: 'a', texts: ['b'] }, 400, /matches images with texts/],
    ['/nothing', {}, 404, /nothing here/],
    ['/health', {}, 405, /GET/],
  ];
  for (const [path, body, status, sentence] of cases) {
    const told = await post(url + path, body);
    const { error } = told.body as { error: string };
    assert.match(error, sentence, path);
    assert.equal(told.status, status, error);
    assert.ok(!/\n {4}at |node:/.test(error), 'no stack');
  }
  assert.deepEqual(printed, [], 'nothing of it is a failure of the server');
});

test('names and pages of others are refused on loopback', async () => {
  const statusOf = (headers: Record<string, string>) =>
    new Promise((resolve, reject) => {
      request(`${url}/health`, { headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
  const { host } = new URL(url);
  assert.equal(await statusOf({}), 200);
  assert.equal(await statusOf({ host: 'localhost:1234' }), 200);
  assert.equal(await statusOf({ host: 'photos.evil.example' }), 403);
  assert.equal(await statusOf({ host: '127.0.0.1.evil.example' }), 403);
  assert.equal(await statusOf({ origin: `http://${host}` }), 200);
  assert.equal(await statusOf({ origin: 'http://evil.example' }), 403);
  assert.equal(await statusOf({ origin: 'null' }), 403);
});

test('with a token, only the page and /health answer without it', async () => {
  const own = await serveTiny(tiny, { token: 'secret' });
  try {
    for (const path of ['/', '/health']) assert.equal((await fetch(own.url + path)).status, 200);
    for (const path of ['/info', '/metrics', '/openapi.json', `/image?id=${anImage}`]) {
      assert.equal((await fetch(own.url + path)).status, 401, path);
      const headers = { Authorization: 'Bearer wrong' };
      assert.equal((await fetch(own.url + path, { headers })).status, 401, path);
      const right = { Authorization: 'Bearer secret' };
      assert.equal((await fetch(own.url + path, { headers: right })).status, 200, path);
    }
    assert.equal((await post(`${own.url}/embed`, { inputs: 'a' })).status, 401);
  } finally {
    await own.close();
  }
});

test('images and thumbnails are those of the index, and no other file', async () => {
  const query = `?id=${encodeURIComponent(anImage)}`;
  const image = await fetch(`${url}/image${query}`);
  assert.deepEqual(Buffer.from(await image.arrayBuffer()), bytesOf(anImage));
  assert.equal(image.headers.get('x-content-type-options'), 'nosniff');
  const small = await fetch(`${url}/thumbnail${query}`);
  assert.equal(small.headers.get('content-type'), 'image/jpeg');
  const again = await fetch(`${url}/thumbnail${query}`, {
    headers: { 'If-None-Match': small.headers.get('etag') ?? '' },
  });
  assert.equal(again.status, 304);
  for (const id of ['', '/etc/passwd', '../rule_tiny.pth', '..%2Frule_tiny.pth', `./${anImage}`])
    assert.equal((await fetch(`${url}/image?id=${id}`)).status, 404, id);
  // The file becomes a link that leads out of the folder; then a text; then it is gone.
  const path = join(tiny.photos, anImage);
  const aside = join(folder, 'aside');
  renameSync(path, aside);
  try {
    symlinkSync(aside, path);
    assert.equal((await fetch(`${url}/image${query}`)).status, 404);
    unlinkSync(path);
    assert.equal((await fetch(`${url}/thumbnail${query}`)).status, 404);
    writeFileSync(path, 'root:x:0:0');
    assert.equal((await fetch(`${url}/image${query}`)).status, 415);
  } finally {
    renameSync(aside, path);
  }
});

test('/metrics, /openapi.json, /info and the page say what there is', async () => {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  assert.match(metrics, /^blip_http_requests_total\{route="\/search",status="200"\} \d+$/m);
  assert.match(metrics, new RegExp(`^blip_index_images ${rows.length}$`, 'm'));
  const api = (await (await fetch(`${url}/openapi.json`)).json()) as { openapi: string; paths: object };
  assert.equal(api.openapi, '3.1.0');
  assert.ok(Object.keys(api.paths).includes('/v1/embeddings'));
  const page = await fetch(url);
  const policy = page.headers.get('content-security-policy') ?? '';
  assert.match(policy, /default-src 'none'.*script-src 'sha256-/);
  assert.doesNotMatch(`${policy}${await page.text()}`.replace('http://www.w3.org', ''), /https?:\/\//);
});

test('an image that another process adds is found', async () => {
  await tiny.index.add([{ id: 'new', image: bytesOf(anImage) }]);
  const { body } = await post(`${url}/search`, { id: 'new', k: 2 });
  assert.ok((body as Found).hits.some(({ id }) => id === 'new'));
  assert.equal((await fetch(`${url}/image?id=new`)).status, 404, 'it has no file');
});

test('beyond its queue the server says 429, and a client that goes frees its place', async () => {
  const own = await serveTiny(tiny, { queue: 2 });
  try {
    const body = { query: 'a dog', images: Array.from({ length: 12 }, () => ({ id: anImage })) };
    const told = await Promise.all(Array.from({ length: 8 }, () => post(`${own.url}/rerank`, body)));
    const busy = told.filter(({ status }) => status === 429);
    assert.ok(busy.length >= 1 && told.some(({ status }) => status === 200));
    assert.match(busy[0]?.headers.get('retry-after') ?? '', /^\d+$/);
    const leaving = new AbortController();
    const options = { method: 'POST', body: JSON.stringify(body), signal: leaving.signal };
    const left = [1, 2].map(() => fetch(`${own.url}/rerank`, options).catch(() => 'left'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    leaving.abort();
    await Promise.all(left);
    let status = 429;
    while (status === 429) status = (await post(`${own.url}/embed`, { inputs: 'a' })).status;
    assert.equal(status, 200);
    while (tiny.blip.pending > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  } finally {
    await own.close();
  }
});

test('a body that does not come is answered by 408, work that takes too long by 503', async () => {
  const QUEUE = 24 * 64;
  const own = await serveTiny(tiny, { timeout: 1, queue: QUEUE });
  try {
    const status = await new Promise((resolve, reject) => {
      const slow = request(`${own.url}/search`, { method: 'POST', headers: { 'Content-Length': 100 } }, (response) => {
        response.resume();
        resolve(response.statusCode);
        slow.destroy();
      });
      slow.on('error', reject);
      slow.write('{"te');
    });
    assert.equal(status, 408);
    const images = Array.from({ length: 32 }, () => ({ id: anImage }));
    // Twice as much each time, until it is more than this machine does in a second; the queue holds it all.
    const statuses: number[] = [];
    for (let count = 24; !statuses.includes(503) && count <= QUEUE; count *= 2) {
      const told = await Promise.all(
        Array.from({ length: count }, () => post(`${own.url}/rerank`, { query: 'a dog', images })),
      );
      statuses.push(...told.map(({ status }) => status));
    }
    assert.deepEqual(
      [...new Set(statuses)].filter((each) => each !== 200),
      [503],
    );
  } finally {
    await own.close();
  }
});

test('a server that stops finishes what is under way', async () => {
  const own = await serveTiny(tiny);
  const images = Array.from({ length: 32 }, () => ({ id: anImage }));
  const idle = connect(Number(new URL(own.url).port), '127.0.0.1');
  await once(idle, 'connect');
  const running = post(`${own.url}/rerank`, { query: 'a dog', images });
  const active = async () => /^blip_requests_active 1$/m.test(await (await fetch(`${own.url}/metrics`)).text());
  while (!(await active())) await new Promise(setImmediate);
  // Browsers open connections before they need them.
  const order: string[] = [];
  idle.once('close', () => order.push('idle'));
  const answered = running.then(() => order.push('answered'));
  await own.close();
  await answered;
  assert.deepEqual(order, ['idle', 'answered']);
  assert.equal((await running).status, 200);
  await assert.rejects(fetch(`${own.url}/health`));
});
