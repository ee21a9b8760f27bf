// Two processes on this machine: collectives, gradients through a gather, data parallel training, and their failures.
// Covers distributed/process-group, data-parallel, failures.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { bothRanks, freePort, nodeRank, pythonRank, pythonWithTorch, results } from '../helpers/ranks.js';
import { toyAlone } from './toy.js';

interface Collected {
  reduced: number[];
  sent: number[];
  gathered: number[];
}
const collected: Collected = { reduced: [3, 4], sent: [10], gathered: [0, 7, 1, 7] };

function assertNear(actual: readonly number[], expected: readonly number[]): void {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - (expected[i] ?? Number.NaN)) < 1e-6, `${value} at ${i} instead of ${expected[i]}`);
  });
}

test('all_reduce, broadcast, all_gather and barrier', async () => {
  assert.deepEqual(await bothRanks<Collected>('collectives'), [collected, collected]);
});

test('texts, bytes and values of both ranks', async () => {
  const expected = {
    greatest: [1, 0],
    texts: [
      [101, 0, 102],
      [101, 5, 6, 7, 102],
      [101, 1, 102],
      [101, 5, 6, 8, 102],
    ],
    values: [
      { rank: 0, name: '' },
      { rank: 1, name: 'ä'.repeat(10) },
    ],
  };
  assert.deepEqual(await bothRanks('gathers'), [expected, expected]);
});

test('the gradient of a gather is the sum of all ranks', async () => {
  // Rank r's loss is Σ (r + 1)·k·x² over rows k = 1 … 4, so a row's gradient is 2·(1 + 2)·k·x.
  assert.deepEqual(await bothRanks('gradient'), [
    { gathered: [5, 3, 6, 3], gradient: [6 * 1 * 5, 6 * 2 * 3] },
    { gathered: [5, 3, 6, 3], gradient: [6 * 3 * 6, 6 * 4 * 3] },
  ]);
});

test('two ranks train as one process does on both batches, backward in two phases', async () => {
  const [first, second] = await bothRanks<{ weights: number[] }>('train');
  assert.deepEqual(first, second);
  assertNear(first.weights, toyAlone());
});

test('gradients that are added up before the exchange, in several buckets', async () => {
  const [first, second] = await bothRanks<{ weights: number[] }>('accumulate');
  assert.deepEqual(first, second);
  assertNear(first.weights, toyAlone());
});

for (const nodeIs of [0, 1])
  test(`Node is rank ${nodeIs}, Python the other: collectives and training together`, async (t) => {
    const found = pythonWithTorch();
    if ('absent' in found) return t.skip(found.absent);
    const pair = async <T>(task: string): Promise<[T, T]> => {
      const port = await freePort();
      const node = nodeRank(task, nodeIs, port, { PATIENCE_MS: '0' }); // Python does not wait at the end
      const python = pythonRank(found.python, task, 1 - nodeIs, port);
      return results<T>(nodeIs === 0 ? [node, python] : [python, node]);
    };
    assert.deepEqual(await pair<Collected>('collectives'), [collected, collected]);
    const [first, second] = await pair<{ weights: number[] }>('train');
    assertNear(first.weights, second.weights);
    assertNear(first.weights, toyAlone());
  });

test('no rank 0: a sentence with rank, host and port', async () => {
  const port = await freePort();
  const { code, stderr } = await nodeRank('collectives', 1, port, { JOIN_MS: '1500' }).ended;
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`^error: Rank 1 of 2 found no rank 0 at 127\\.0\\.0\\.1:${port} within 1\\.5 s\\. `));
  assert.equal(stderr.trim().split('\n').length, 1, stderr);
});

test('a rank that does not come: a sentence that counts', async () => {
  const port = await freePort();
  const { code, stderr } = await nodeRank('collectives', 0, port, { JOIN_MS: '1500' }).ended;
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`^error: Only 1 of 2 ranks met at 127\\.0\\.0\\.1:${port} within 1\\.5 s\\. `));
});

test('a port in use: a sentence', async () => {
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  const { code, stderr } = await nodeRank('collectives', 0, port, { JOIN_MS: '3000' }).ended;
  server.close();
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`^error: Port ${port} of 127\\.0\\.0\\.1 is in use\\. Choose another`));
});

test('a host that nobody knows: a sentence', async () => {
  const variables = { MASTER_ADDR: 'no-such-host.invalid', JOIN_MS: '1500' };
  const { code, stderr } = await nodeRank('collectives', 1, 29500, variables).ended;
  assert.equal(code, 1);
  assert.match(stderr, /^error: Rank 1 (cannot find the host|of 2 found no rank 0 at) no-such-host\.invalid/);
});

test('parameters that differ between ranks are noticed', async () => {
  const port = await freePort();
  const ended = await Promise.all([nodeRank('unequal', 0, port).ended, nodeRank('unequal', 1, port).ended]);
  assert.ok(
    ended.every(({ code }) => code === 1),
    'both ranks fail',
  );
  assert.match(ended.map(({ stderr }) => stderr).join(''), /shape|size/i);
});

test('a rank killed in a collective: the other fails at once, and says so', async () => {
  const port = await freePort();
  const ranks = [nodeRank('exchange', 0, port), nodeRank('exchange', 1, port)] as const;
  await ranks[1].says('exchanging');
  ranks[1].kill('SIGKILL');
  const { code, stderr } = await ranks[0].ended;
  assert.equal(code, 1);
  assert.match(stderr, /^error: Rank 0 lost the connection to another rank in all_reduce\. /);
});

test('a rank that hangs: the other fails after the timeout', async () => {
  const port = await freePort();
  const ranks = ['0', '1'].map((rank) => nodeRank('lastHangs', Number(rank), port, { COLLECTIVE_MS: '1500' }));
  const [first, second] = ranks;
  assert.ok(first && second);
  const { code, stderr } = await first.ended;
  second.kill('SIGKILL');
  await second.ended;
  assert.equal(code, 1);
  assert.match(stderr, /^error: Rank 0 waited longer than 1\.5 s for the other ranks in all_reduce\. /);
});
