// Permits and windows: what bounds the images in memory and the jobs of a list.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapWindow, Permits } from '#blip/retriever/windowed.js';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('permits are passed on in order, each once, and not to those who have left', async () => {
  const permits = new Permits(1);
  const order: string[] = [];
  const first = await permits.take();
  const stop = new AbortController();
  const take = async (name: string, signal?: AbortSignal) => {
    const back = await permits.take(signal);
    order.push(name);
    return back;
  };
  const [second, left, third] = [take('second'), take('left', stop.signal), take('third')];
  stop.abort(new Error('left'));
  await assert.rejects(left, /left/);
  await turn();
  assert.deepEqual(order, []);
  first();
  first();
  (await second)();
  (await third)();
  assert.deepEqual(order, ['second', 'third']);
  (await permits.take())();
  await assert.rejects(permits.take(AbortSignal.abort(new Error('early'))), /early/);
});

test('a list is worked off in a window, and its results are in order', async () => {
  let [now, most] = [0, 0];
  const results = await mapWindow([5, 1, 4, 2, 3], 2, async (item, index) => {
    most = Math.max(most, ++now);
    for (let i = 0; i < item; i++) await turn();
    now -= 1;
    return item * 10 + index;
  });
  assert.deepEqual(results, [50, 11, 42, 23, 34]);
  assert.equal(most, 2);
  assert.deepEqual(await mapWindow([], 2, async () => 1), []);
});

test('the first failure is thrown, stops the others and begins nothing more', async () => {
  const begun: number[] = [];
  const work = mapWindow([0, 1, 2, 3, 4], 2, async (item, _, signal) => {
    begun.push(item);
    if (item === 1) throw new Error('the second');
    await turn();
    await turn();
    signal.throwIfAborted();
  });
  await assert.rejects(work, /^Error: the second$/);
  await turn();
  await turn();
  await turn();
  assert.deepEqual(begun, [0, 1]);
});
