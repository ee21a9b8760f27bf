// Copies between host and device: which of them wait, what is late, and what a host may not do before it has waited.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native } from '#blip/torch/native.js';
import { operator, operatorInPlace } from '#blip/torch/operator.js';
import * as ops from '#blip/torch/ops.js';
import { scope, type Tensor } from '#blip/torch/tensor.js';
import { countWork, noStandIn, waitsOf } from '../helpers/strict-cuda.js';

const skip = noStandIn;
// The addon takes cuDNN's attention away when it is loaded, unless LibTorch's own variable says something.
process.env.TORCH_CUDNN_SDPA_DEPRIORITIZED = '0';
const device = 'cuda:0';
const toOp = operator('aten::to.device');
const pinOp = operator('aten::pin_memory');
const fillInPlace = operatorInPlace('aten::fill_.Scalar');
const FLOAT32 = 6;
const send = (x: Tensor, nonBlocking: boolean) => toOp(x, device, FLOAT32, nonBlocking, false);
const toHost = (x: Tensor, nonBlocking: boolean) => toOp(x, 'cpu', FLOAT32, nonBlocking, false);
const inScope = (work: () => void) => countWork(() => scope(work));

test('uploads are counted by what they wait for', { skip }, async () => {
  const x = ops.float32([1, 2, 3]);
  const pinned = pinOp(x);
  const blocking = await inScope(() => void send(x, false));
  assert.equal(blocking.counts['upload.blocking'], 1);
  assert.equal(waitsOf(blocking), 1);
  const pageable = await inScope(() => void send(x, true));
  assert.equal(pageable.counts['upload.pageable'], 1);
  const late = await inScope(() => void send(pinned, true));
  assert.equal(late.counts['upload.pinned'], 1);
  assert.equal(waitsOf(late), 0);
  assert.equal((await inScope(() => void send(pinned, false))).counts['upload.blocking'], 1);
});

test('reads are counted', { skip }, async () => {
  const x = ops.to(ops.float32([1, 2, 0, 3]), { device });
  assert.deepEqual((await inScope(() => void ops.sum(x).item())).counts['read.aten::_local_scalar_dense'], 1);
  assert.deepEqual((await inScope(() => void x.float32())).counts['download.blocking'], 1);
  assert.equal(waitsOf(await inScope(() => void operator('aten::nonzero')(x))), 1);
  assert.equal(
    waitsOf(await inScope(() => void operator('aten::multinomial')(x, 1, false))),
    2,
    'it checks its weights twice',
  );
  assert.equal(waitsOf(await inScope(() => void ops.add(x, 1))), 0);
});

test('a pinned tensor may be disposed while its copy is under way', { skip }, () => {
  scope(() => {
    const pinned = pinOp(ops.float32([1, 2, 3]));
    const there = send(pinned, true);
    pinned.dispose();
    for (let i = 0; i < 10; i++) fillInPlace(pinOp(ops.float32([0, 0, 0])), 7);
    assert.deepEqual([...there.float32()], [1, 2, 3]);
  });
});

test('a pinned tensor that is rewritten while its copy is under way is found at the next wait', { skip }, () => {
  scope(() => {
    const pinned = pinOp(ops.float32([1, 2, 3]));
    send(pinned, true);
    fillInPlace(pinned, 4);
    assert.throws(
      () => native().synchronize(0),
      /pinned memory was rewritten before the device had read it: 12 bytes of a non-blocking copy to cuda:0/,
    );
    native().synchronize(0);
    fillInPlace(pinned, 5);
    native().synchronize(0);
  });
});

test('a download without a wait holds nothing of use until the host has waited', { skip }, () => {
  scope(() => {
    const there = ops.to(ops.float32([1, 2, 3]), { device });
    const here = toHost(there, true);
    fillInPlace(there, 9); // queued after the copy
    assert.deepEqual([...here.float32()], [Number.NaN, Number.NaN, Number.NaN]);
    native().synchronize(0);
    assert.deepEqual([...here.float32()], [1, 2, 3]);
  });
});
