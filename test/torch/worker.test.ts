// Worker threads: the addon in several at once, handles that change threads, threads that end in the middle of their
// work. The programs are in workers/; each says what it does.
// Covers native/handles.cc, torch/native, torch/tensor.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runProgram } from '../helpers/run-node.js';

async function expectOutput(program: string, args: readonly string[], ...lines: string[]): Promise<void> {
  const { code, signal, stderr, stdout } = await runProgram(`torch/workers/${program}`, args);
  assert.deepEqual([code, signal, stderr, stdout.trimEnd().split('\n')], [0, null, '', lines]);
}

test('four workers compute at once, each with its own modes', async () => {
  const results = [500, 501, 502, 503].map((mean) => ({ mean, records: true }));
  await expectOutput('compute', [], JSON.stringify(results), '0');
});

test('a handle passed as a number is the same tensor in another thread, and outlives the thread that made it', async () => {
  await expectOutput('hand-over', [], '[[11,12,13],[22,24,26]]', 'true');
});

test('a tensor disposed by one thread while others use it is an error there, or a result', async () => {
  const result = { called: true, otherError: '' };
  await expectOutput('dispose-in-use', [], JSON.stringify([result, result]), '0');
});

test('workers that are terminated in the middle of their work', async () => {
  await expectOutput('terminate', [], '1'.repeat(24), '2');
});

for (const [name, end] of [
  ['is terminated', 'terminated'],
  ['ends by itself', 'by itself'],
] as const)
  test(`a worker that ${name} leaves nothing behind but what it made for other threads`, async () => {
    await expectOutput('leave-nothing', [end], '504 while it worked, 1 after', '[true,false,false]', '[1,1,1]');
  });

test('process.exit while workers compute', async () => {
  const { code, signal, stderr } = await runProgram('torch/workers/exit');
  assert.deepEqual([code, signal, stderr], [7, null, '']);
});

test('an error that a worker does not catch reaches its parent as one', async () => {
  await expectOutput('uncaught', [], "aten::reshape: shape '[3]' is invalid for input of size 2");
});
