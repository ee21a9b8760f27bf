// State of process and thread: threads, autocast, devices that are not there; and locks of files (process.cc).
// Covers native/runtime.cc, process.cc, torch/native.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { cudaState } from '#blip/torch/cuda.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { autocast, type Device, liveHandles, scope } from '#blip/torch/tensor.js';
import { runNode } from '../helpers/run-node.js';

const addon = native();

test('the number of threads is what was set', () => {
  const before = addon.getThreads();
  for (const threads of [1, 2, 1]) {
    addon.setThreads(threads);
    assert.equal(addon.getThreads(), threads);
  }
  for (const threads of [0, -1, 1025, 2 ** 31, 2 ** 32 + 1])
    assert.throws(() => addon.setThreads(threads), /setThreads: expected an integer from 1 to 1024 for threads/);
  assert.equal(addon.getThreads(), 1);
  addon.setThreads(before);
});

test('the version', () => {
  assert.match(addon.version().built, /^2\.\d+\.\d+/);
});

test('float32 is float32 from the start, in convolutions too; a worker does not put that back', async () => {
  assert.deepEqual(addon.tf32(), { matmul: false, convolution: false });
  addon.setTf32(true);
  assert.deepEqual(addon.tf32(), { matmul: true, convolution: true });
  const path = JSON.stringify(fileURLToPath(import.meta.resolve('#blip/torch/native.js')));
  const worker = new Worker(`import(${path}).then((m) => m.native().tf32())`, { eval: true });
  await once(worker, 'exit');
  assert.deepEqual(addon.tf32(), { matmul: true, convolution: true });
  addon.setTf32(false);
  assert.deepEqual(addon.tf32(), { matmul: false, convolution: false });
});

const product = () => {
  const a = ops.float32(
    [0, 1, 2, 3, 4, 5].map((n) => n / 7),
    [2, 3],
  );
  const b = ops.float32(
    Array.from({ length: 12 }, (_, n) => n / 5),
    [4, 3],
  );
  return ops.linear(a, b, ops.zeros([4]));
};

test('autocast: linear in bfloat16 with the values of Python, and float32 again afterwards', () => {
  const before = liveHandles();
  scope(() => {
    const half = autocast('cpu', 'bfloat16', product);
    assert.equal(half.dtype, 'bfloat16');
    assert.deepEqual(
      [...ops.to(half, { dtype: 'float32' }).float32()],
      [0.142578125, 0.3984375, 0.65625, 0.9140625, 0.400390625, 1.4296875, 2.453125, 3.484375],
    );
    const whole = product();
    assert.equal(whole.dtype, 'float32');
    assert.ok(Math.abs((whole.float32()[5] ?? 0) - 1.4285714626312256) < 1e-6);
  });
  assert.equal(liveHandles(), before);
});

const dtypeOfProduct = () => scope(() => product().dtype);

test('autocasts nest, and each puts back what it found', () => {
  autocast('cpu', 'bfloat16', () => {
    assert.equal(dtypeOfProduct(), 'bfloat16');
    autocast('cpu', 'float16', () => assert.equal(dtypeOfProduct(), 'float16'));
    assert.equal(dtypeOfProduct(), 'bfloat16');
    autocast('cuda', 'float16', () => assert.equal(dtypeOfProduct(), 'bfloat16', 'one device does not touch another'));
    assert.equal(dtypeOfProduct(), 'bfloat16');
  });
  assert.equal(dtypeOfProduct(), 'float32');
  autocast('cuda', 'bfloat16', () => {
    autocast('cpu', 'bfloat16', () => assert.equal(dtypeOfProduct(), 'bfloat16'));
    assert.equal(dtypeOfProduct(), 'float32', 'the inner one ends before the outer one does');
  });
});

test('autocast ends when its body throws', () => {
  assert.throws(
    () =>
      autocast('cpu', 'bfloat16', () => {
        throw new Error('inside');
      }),
    /inside/,
  );
  assert.equal(dtypeOfProduct(), 'float32');
});

test('autocast that cannot be entered leaves no trace', () => {
  for (const device of ['gpu', 'meta', '', 'cpu\0'])
    assert.throws(() => autocast(device as Device, 'bfloat16', () => undefined), /enterAutocast: expected a device/);
  for (const dtype of [4, 6, 12, 99, -1])
    assert.throws(() => addon.enterAutocast('cpu', dtype), /enterAutocast: expected the code of float16 or bfloat16/);
  assert.throws(() => addon.leaveAutocast(), /leaveAutocast: no autocast was entered/);
  autocast('cpu', 'bfloat16', () => assert.equal(dtypeOfProduct(), 'bfloat16'));
  assert.equal(dtypeOfProduct(), 'float32');
});

test('a GPU that is not there', (t) => {
  if (addon.deviceCount() > 0) return t.skip('this machine has a GPU');
  assert.match(cudaState().problem ?? '', /./);
  assert.equal(addon.deviceName(0), null);
  for (const use of [addon.setDevice, addon.synchronize, addon.deviceMemory, addon.resetPeakMemory])
    assert.throws(() => use(0), /: there is no GPU that LibTorch can use$/);
  const devices = ['cuda', 'cuda:0', 'xpu', 'mps'];
  for (const device of devices)
    assert.throws(
      () => ops.zeros([1], { device: device as Device }),
      (error: Error) => {
        assert.match(error.message, /^aten::zeros: [^\n]{1,400}$/);
        return true;
      },
    );
});

test('a GPU that is there', (t) => {
  const count = addon.deviceCount();
  if (count === 0) return t.skip(cudaState().problem);
  for (const use of [addon.setDevice, addon.synchronize, addon.deviceMemory, addon.resetPeakMemory])
    for (const index of [count, 256, 2 ** 32]) assert.throws(() => use(index), /for index but received the number/);
  assert.ok(addon.deviceName(0));
  assert.ok(addon.deviceMemory(0).free > 0);
  addon.synchronize(0);
});

test("the lock of a file is one open file's until it is closed", () => {
  const folder = mkdtempSync(join(tmpdir(), 'blip-lock-'));
  const [first, second] = [openSync(join(folder, 'lock'), 'a+'), openSync(join(folder, 'lock'), 'a+')];
  assert.equal(addon.lockFile(first), true);
  assert.equal(addon.lockFile(first), true); // held already
  assert.equal(addon.lockFile(second), false);
  closeSync(first);
  assert.equal(addon.lockFile(second), true);
  closeSync(second);
  assert.throws(() => addon.lockFile(2 ** 20), /no file is open as 1048576/);
  rmSync(folder, { recursive: true });
});

test('memory between blocks that live on goes back to the system when it is asked to', async () => {
  const { code, stdout, stderr } = await runNode(`
    const { returnFreedMemory } = await import('#blip/torch/device-memory.js');
    const rss = () => process.memoryUsage().rss;
    const [between, large] = [[], []];
    for (let i = 0; i < 64; i++) {
      large.push(keep(ops.full([2 ** 20], 1)));
      between.push(keep(ops.full([64], 1))); // the heap's top stays behind this one
    }
    for (const tensor of large) tensor.dispose();
    const before = rss();
    returnFreedMemory();
    console.log(before - rss(), ops.sum(between[63]).item());`);
  assert.equal(code, 0, stderr);
  const [returned, sum] = stdout.split(' ').map(Number);
  assert.ok((returned ?? 0) > 128 * 2 ** 20, `${returned} of ${256 * 2 ** 20} bytes`); // half of it is left to chance
  assert.equal(sum, 64);
});
