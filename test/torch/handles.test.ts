// The life of handles: disposed ones are noticed, slots are used again, forgotten ones are freed, memory stays bounded.
// Covers native/handles.cc, torch/tensor.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, Tensor } from '#blip/torch/tensor.js';
import { bareTensor } from '../helpers/addon-call.js';
import { runNode } from '../helpers/run-node.js';

const addon = native();

test('a disposed tensor is noticed by everything that takes one', () => {
  const x = ops.float32([1, 2]);
  assert.equal(String(x), 'Tensor(shape=[2], dtype=float32, device=cpu)');
  x.dispose();
  x.dispose();
  assert.equal(x.disposed, true);
  assert.equal(String(x), 'Tensor(disposed)');
  assert.deepEqual(x.shape, [2], 'known from before');
  const uses: [() => unknown, string][] = [
    [() => x.dtype, 'dtype'],
    [() => x.device, 'device'],
    [() => x.strides, 'strides'],
    [() => x.item(), 'item'],
    [() => x.bytes(), 'dtype'],
    [() => x.requiresGrad, 'requiresGrad'],
    [() => x.backward(), 'backward'],
    [() => ops.add(x, 1), 'aten::add.Scalar'],
    [() => ops.cat([x]), 'aten::cat'],
  ];
  for (const [use, name] of uses)
    assert.throws(use, (error: Error) => {
      assert.match(error.message, /but received a handle that was disposed or never existed/);
      return error.message.startsWith(`${name}: `);
    });
});

test('a slot that is used again does not revive its old handle', () => {
  const before = liveHandles();
  const first = bareTensor([1]);
  addon.dispose(first);
  const seen = new Set([first]);
  for (let i = 0; i < 1000; i++) {
    const handle = bareTensor([1]);
    assert.ok(!seen.has(handle), 'no handle is given twice');
    assert.equal(addon.isLive(first), false);
    assert.equal(addon.dispose(first), false);
    assert.equal(addon.dispose(handle), true);
    seen.add(handle);
  }
  assert.equal(liveHandles(), before);
});

test('handles made by guessing are refused', () => {
  const live = bareTensor([1]);
  for (let i = 1; i < 2000; i++) {
    const guess = 2 ** 52 + ((i * 2654435761) % 2 ** 52);
    if (guess !== live) assert.equal(addon.isLive(guess), false, String(guess));
  }
  assert.ok(addon.dispose(live));
});

test('views and aliases live on when what they came from is disposed', () => {
  const x = ops.float32([1, 2, 3, 4], [2, 2]);
  const row = ops.select(x, 0, 1);
  const alias = new Tensor(addon.alias(x.handle));
  x.dispose();
  assert.deepEqual([...row.float32()], [3, 4]);
  assert.deepEqual([...alias.float32()], [1, 2, 3, 4]);
  row.dispose();
  alias.dispose();
});

test('reading: types and counts that do not fit', () => {
  const x = ops.float32([1, 2]);
  assert.throws(() => x.integers(), /Expected a int64 tensor but received one of float32/);
  assert.throws(() => x.item(), /one element/);
  assert.throws(() => x.size(1), /Expected a dimension of \[2\] but received 1/);
  assert.deepEqual([x.size(-1), x.size(0), x.numel], [2, 2, 2]);
  const big = ops.fromBytes(new Uint8Array(new BigInt64Array([2n ** 60n]).buffer), 'int64', [1]);
  assert.throws(() => big.integers(), /below 2\^53/);
  const transposed = ops.transpose(ops.float32([1, 2, 3, 4], [2, 2]), 0, 1);
  assert.deepEqual([...transposed.float32()], [1, 3, 2, 4], 'bytes are in row-major order');
  for (const tensor of [x, big, transposed]) tensor.dispose();
});

test('tensors that are forgotten outside a scope are freed', async () => {
  const { code, stdout, stderr } = await runNode(
    `
    import { Generator } from '#blip/torch/generator.js';
    const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
    const before = liveHandles();
    const forget = () => {
      for (let i = 0; i < 100; i++) ops.zeros([1000]);
      scope(() => keep(ops.zeros([1])));
      scope(() => [ops.zeros([1])]);
      Generator.create(1);
    };
    forget();
    const forgotten = liveHandles() - before;
    for (let i = 0; i < 400 && liveHandles() > before; i++) {
      gc();
      await turn();
    }
    console.log(forgotten, liveHandles() - before);`,
    ['--expose-gc'],
  );
  assert.deepEqual([code, stderr, stdout.trim()], [0, '', '103 0']);
});

test('large tensors that are forgotten between turns of the event loop stay few', async () => {
  const { code, stdout, stderr } = await runNode(`
    let most = 0;
    for (let i = 0; i < 600; i++) {
      ops.zeros([1024, 1024]);
      most = Math.max(most, liveHandles());
      await new Promise((turn) => setImmediate(turn));
    }
    console.log(most);`);
  assert.deepEqual([code, stderr], [0, '']);
  // Some 80; all 600 if their memory were not reported to V8.
  assert.ok(Number(stdout) < 300, `${stdout.trim()} at once`);
});

test('the memory that only V8 can free is reported to it, as long as it exists', async () => {
  const { code, stdout, stderr } = await runNode(`
    const disposed = native.createGenerator(1);
    native.dispose(disposed);
    const start = native.trackExternal(disposed);
    const reported = [];
    const note = () => reported.push(Math.round((native.trackExternal(disposed) - start) / 2 ** 20));
    const large = () => ops.zeros([4, 1024, 1024]); // 16 MiB, of which a quarter is reported
    const x = large();
    note();
    const [view, small] = [ops.select(x, 0, 0), ops.zeros([1000])];
    note();
    const y = scope(() => {
      const result = large();
      large();
      note();
      return result;
    });
    note();
    const z = scope(() => keep(large()));
    note();
    z.dispose();
    z.dispose();
    view.dispose();
    note();
    native.disposeAll([x.handle, y.handle, small.handle]);
    note();
    console.log(JSON.stringify(reported));`);
  assert.deepEqual([code, stderr, stdout.trim()], [0, '', '[4,4,4,8,12,8,0]']);
});

test('10,000 results of 1 MB in a scope that ends now and then stay within 300 MB', async () => {
  const { code, stdout, stderr } = await runNode(`
    const before = process.resourceUsage().maxRSS;
    const x = ops.zeros([256, 1024]);
    for (let i = 0; i < 500; i++)
      scope(() => {
        for (let j = 0; j < 20; j++) ops.add(x, 1);
      });
    console.log(liveHandles(), Math.round((process.resourceUsage().maxRSS - before) / 1024));`);
  assert.deepEqual([code, stderr], [0, '']);
  const [live, megabytes] = stdout.trim().split(' ').map(Number);
  assert.equal(live, 1);
  assert.ok(megabytes !== undefined && megabytes < 300, `${megabytes} MB more than at the start`);
});
