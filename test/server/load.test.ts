// A few hundred requests of mixed kinds, 5 % of them hostile; load.trial-test.ts sends 10,000.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { temporaryFolder } from '../helpers/files.js';
import { openTiny, printed, serveTiny } from './ask.js';
import { load } from './load.js';

test('mixed and hostile requests are answered as they should be, and leave nothing behind', async (t) => {
  const tiny = await openTiny(temporaryFolder(t));
  const server = await serveTiny(tiny);
  try {
    const { wrong } = await load(tiny, server.url, { total: 320 });
    assert.deepEqual(wrong, []);
    assert.deepEqual(printed, [], 'no failure of the server');
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /^blip_requests_active 0$/m);
  } finally {
    await server.close();
    await tiny.blip.close();
  }
});
