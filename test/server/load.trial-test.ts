// 10,000 requests of mixed kinds, 5 % of them hostile; then /health while 32 clients re-rank. Prints what was measured.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';
import { openTiny, printed, serveTiny } from './ask.js';
import { load } from './load.js';

const total = Number(process.env.BLIP_LOAD_REQUESTS ?? 10_000);

test('10,000 requests, and /health while 32 re-rank', { timeout: 1_800_000 }, async (t) => {
  const tiny = await openTiny(temporaryFolder(t));
  const server = await serveTiny(tiny);
  try {
    const start = performance.now();
    const { wrong, memory, counts } = await load(tiny, server.url, { total });
    const seconds = (performance.now() - start) / 1000;
    t.diagnostic(`${total} requests in ${seconds.toFixed(1)} s; resident memory ${memory.join(', ')} MiB`);
    t.diagnostic([...counts].map(([kind, count]) => `${kind} ${count}`).join(', '));
    assert.deepEqual(wrong.slice(0, 20), []);
    const { health, wrong: others } = await load(tiny, server.url, { total: 200, atOnce: 1, reranking: 32 });
    const p = (share: number) => at(health, Math.min(health.length - 1, Math.floor(share * health.length))).toFixed(1);
    t.diagnostic(`/health while 32 re-rank: p50 ${p(0.5)}, p99 ${p(0.99)} ms of ${health.length}`);
    assert.deepEqual(others, []);
    assert.deepEqual(printed, []);
  } finally {
    await server.close();
    await tiny.blip.close();
  }
});
