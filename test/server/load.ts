// Requests of mixed kinds at a server, some of them hostile, and while others re-rank: what came of them.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { at } from '#blip/errors.js';
import { type Opened, rows } from './ask.js';

export interface Outcome {
  /** How many answers there were of each kind of request and status. */
  counts: Map<string, number>;
  /** Answers that were not as they should be. */
  wrong: string[];
  /** Milliseconds that /health took, sorted. */
  health: number[];
  /** Resident memory at the end of each tenth, in MiB. */
  memory: number[];
}

type Kind = [name: string, expected: readonly number[], send: (i: number) => Promise<number | 'gone'>];

/** Sends `total` requests, `atOnce` at a time, while `reranking` clients re-rank. Every 20th is hostile. */
export async function load(
  { photos }: Opened,
  url: string,
  { total, atOnce = 16, reranking = 0 }: { total: number; atOnce?: number; reranking?: number },
): Promise<Outcome> {
  const { image } = at(rows, 0);
  const bytes = Uint8Array.from(readFileSync(join(photos, image)));
  const ask = async (
    path: string,
    body: string | Uint8Array<ArrayBuffer>,
    type = 'application/json',
    signal?: AbortSignal,
  ) => {
    const init = { method: 'POST', body, headers: { 'Content-Type': type }, ...(signal && { signal }) };
    const response = await fetch(url + path, init);
    const text = await response.text();
    if (response.status === 200 && path === '/search' && type !== 'application/json' && !text.includes(`"${image}"`))
      throw new Error(`a search by ${image} found ${text.slice(0, 80)}`);
    return response.status;
  };
  const json = (path: string, body: unknown) => ask(path, JSON.stringify(body));
  const gets = async (path: string) => {
    const response = await fetch(url + path);
    await response.arrayBuffer();
    return response.status;
  };
  const raw = (text: string, wait: number) =>
    new Promise<number | 'gone'>((resolve) => {
      const { port } = new URL(url);
      const socket = connect(Number(port), '127.0.0.1', () => socket.write(text));
      let answer = '';
      socket.on('data', (data) => {
        answer += data;
        const [, status] = /^HTTP\/1.1 (\d{3})/.exec(answer) ?? [];
        if (status !== undefined) {
          socket.destroy();
          resolve(Number(status));
        }
      });
      socket.on('error', () => resolve('gone'));
      const timer = setTimeout(() => socket.destroy(), wait);
      socket.on('close', () => {
        clearTimeout(timer);
        resolve('gone');
      });
    });
  const good: Kind[] = [
    ['text', [200], (i) => json('/search', { text: at(rows, i % rows.length).caption[0], k: 5 })],
    ['re-ranked', [200], (i) => json('/search', { text: at(rows, i % rows.length).caption[0], rerank: 2 })],
    ['image', [200], () => ask('/search', bytes, 'image/jpeg')],
    ['id', [200], () => json('/search', { id: image })],
    ['embed', [200], (i) => json('/embed', { inputs: [`picture ${i}`, 'a dog'] })],
    ['thumbnail', [200], (i) => gets(`/thumbnail?id=${encodeURIComponent(at(rows, i % rows.length).image)}`)],
    ['rerank', [200], () => json('/rerank', { query: { id: image }, texts: ['a dog', 'a cat'] })],
  ];
  const hostile: Kind[] = [
    ['too large', [413], () => ask('/search', new Uint8Array(2 ** 20 + 1))],
    ['broken image', [400], () => ask('/search', bytes.slice(0, bytes.length >> 1), 'image/jpeg')],
    ['no JSON', [400], () => ask('/search', '{"text": "a')],
    ['many values', [413], () => ask('/search', `[${'[],'.repeat(200_000)}0]`)],
    ['no HTTP', [400], () => raw('HELLO\r\n\r\n', 60_000)],
    ['slow', [408], () => raw('POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"te', 400)],
    [
      'aborted',
      [],
      async (i) => {
        const signal = AbortSignal.timeout(1 + (i % 30));
        const body = JSON.stringify({ text: 'a dog', rerank: 16 });
        return ask('/search', body, 'application/json', signal).catch(() => 'gone' as const);
      },
    ],
    ['other host', [403], () => raw('GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n', 60_000)],
  ];

  const outcome: Outcome = { counts: new Map(), wrong: [], health: [], memory: [] };
  let next = 0;
  let isOver = false;
  const one = async (i: number) => {
    const [name, expected, send] =
      i % 20 === 19 ? at(hostile, ((i / 20) | 0) % hostile.length) : at(good, i % good.length);
    const status = await send(i).catch((error: unknown) => `failed: ${error}`);
    const key = `${name}: ${status}`;
    outcome.counts.set(key, (outcome.counts.get(key) ?? 0) + 1);
    const isGone = status === 'gone' && (name === 'slow' || name === 'aborted' || name === 'too large');
    if (!isGone && !(name === 'aborted' && status === 200) && !expected.some((each) => each === status))
      outcome.wrong.push(key);
  };
  const client = async () => {
    while (next < total) {
      const i = next++;
      if (i % Math.ceil(total / 10) === 0) outcome.memory.push(Math.round(process.memoryUsage.rss() / 2 ** 20));
      await one(i);
    }
  };
  const rerank = async () => {
    while (!isOver) await json('/search', { text: 'a dog in snow', rerank: 16 });
  };
  const watch = async () => {
    while (!isOver) {
      const start = performance.now();
      await gets('/health');
      outcome.health.push(performance.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const others = [watch(), ...Array.from({ length: reranking }, rerank)];
  await Promise.all(Array.from({ length: atOnce }, client));
  isOver = true;
  await Promise.all(others);
  outcome.memory.push(Math.round(process.memoryUsage.rss() / 2 ** 20));
  outcome.health.sort((a, b) => a - b);
  return outcome;
}
