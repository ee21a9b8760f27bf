// Gradients equal to Python's, modes that end where they should, and what autograd refuses.
// Covers torch/tensor, ops, native/tensor.cc.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';

function leaf(values: number[]): Tensor {
  const x = ops.float32(values);
  x.requiresGrad = true;
  return x;
}

const gradient = (x: Tensor) => [...(x.grad?.float32() ?? [])];

/** Runs a test's body in a scope, and checks that it leaves nothing behind. */
const inScope = (name: string, body: () => void) =>
  test(name, () => {
    const before = liveHandles();
    scope(body);
    assert.equal(liveHandles(), before);
  });

inScope('gradients of a small expression', () => {
  const [x, w] = [leaf([1, 2, 3]), leaf([0.5, -1, 2])];
  const y = ops.add(ops.mul(ops.sum(ops.mul(x, w)), 2), ops.sum(ops.mul(x, x)));
  assert.equal(y.item(), 23);
  assert.equal(x.grad, null);
  y.backward();
  assert.deepEqual(gradient(x), [3, 2, 10]);
  assert.deepEqual(gradient(w), [2, 4, 6]);
  x.clearGrad();
  assert.equal(x.grad, null);
});

inScope('the graph outlives the handles it was made with', () => {
  const x = leaf([-1, 0.5, 2]);
  const y = scope(() => ops.sum(ops.gelu(ops.mul(x, 1))));
  y.backward();
  const expected = [-0.08331543207168579, 0.867495059967041, 1.085231900215149];
  gradient(x).forEach((value, i) => {
    assert.ok(Math.abs(value - (expected[i] ?? NaN)) < 1e-6, `${value}`);
  });
});

inScope('gradients accumulate, over a graph that is kept when asked', () => {
  const x = leaf([3]);
  const y = ops.mul(x, x);
  y.backward({ retainGraph: true });
  y.backward();
  assert.equal(x.grad?.item(), 12);
  assert.throws(() => y.backward(), /backward: .*second time/);
  assert.equal(x.grad?.item(), 12);
});

inScope('noGrad records nothing, also when its body throws', () => {
  const x = leaf([1]);
  assert.equal(ops.mul(x, 2).requiresGrad, true);
  assert.equal(noGrad(() => ops.mul(x, 2)).requiresGrad, false);
  assert.throws(() =>
    noGrad(() => {
      throw new Error('inside');
    }),
  );
  assert.equal(ops.mul(x, 2).requiresGrad, true);
  noGrad(() => {
    noGrad(() => undefined);
    assert.equal(ops.mul(x, 2).requiresGrad, false, 'the inner one puts back what it found');
  });
});

inScope('what has no gradient says so', () => {
  const integers = ops.int64([1]);
  assert.throws(() => {
    integers.requiresGrad = true;
  }, /setRequiresGrad: .*floating point/);
  assert.throws(() => ops.float32([1]).backward(), /backward: .*does not require grad/);
  assert.throws(() => ops.mul(leaf([1, 2]), 2).backward(), /backward: grad can be implicitly created only for scalar/);
  const result = ops.mul(leaf([1]), 2);
  assert.throws(() => {
    result.requiresGrad = false;
  }, /setRequiresGrad: .*leaf/);
  const x = leaf([1]);
  assert.throws(() => ops.addInPlace(x, x), /aten::add_\.Tensor: .*leaf .*in-place/);
});
