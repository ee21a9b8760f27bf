// --device: what is chosen when nothing is said, and why an explicit GPU is refused.
// Covers torch/cuda.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { resolveDevice } from '#blip/torch/cuda.js';
import { parseDevice } from '#blip/training/options.js';

const none = { count: 0, problem: 'this machine has no NVIDIA driver' };

test('names', () => {
  assert.equal(parseDevice('cpu'), 'cpu');
  assert.equal(parseDevice('cuda'), 'cuda:0');
  assert.equal(parseDevice('cuda:01'), 'cuda:1');
  for (const wrong of ['', 'CPU', 'cuda:', 'cuda:x', 'cuda:-1', 'mps'])
    assert.throws(() => parseDevice(wrong), /Expected/);
});

test('without a choice: the first GPU, else the CPU with a line that says why', () => {
  assert.deepEqual(resolveDevice(undefined, { count: 2 }), { device: 'cuda:0' });
  assert.deepEqual(resolveDevice(undefined, none), {
    device: 'cpu',
    note: 'Running on the CPU: this machine has no NVIDIA driver.',
  });
});

test('an explicit choice is obeyed or refused with the reason', () => {
  assert.deepEqual(resolveDevice('cpu', { count: 2 }), { device: 'cpu' });
  assert.deepEqual(resolveDevice('cuda:1', { count: 2 }), { device: 'cuda:1' });
  const refuses = (run: () => unknown, message: RegExp) =>
    assert.throws(run, (error: unknown) => error instanceof UserError && message.test(error.message));
  refuses(
    () => resolveDevice('cuda:0', none),
    /Device cuda cannot be used: this machine has no NVIDIA driver\. Run `doctor`/,
  );
  refuses(() => resolveDevice('cuda:1', { count: 1 }), /there is 1 GPU, number 0\. Choose cuda:0\./);
  refuses(() => resolveDevice('cuda:5', { count: 2 }), /there are 2 GPUs, numbered from 0\. Choose cuda:1\./);
});
