// Scopes: what is returned or kept survives, everything else is freed, however the body ends.
// Covers torch/tensor.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { autocast, keep, liveHandles, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';

let start = 0;
beforeEach(() => {
  start = liveHandles();
});
const made = () => liveHandles() - start;
const tensor = () => ops.float32([1]);

test('what is not returned is freed', () => {
  const sum = scope(() => {
    const x = tensor();
    return ops.add(ops.add(x, 1), 1).item();
  });
  assert.deepEqual([sum, made()], [3, 0]);
});

test('tensors in what is returned survive, wherever they are', () => {
  const inner = [
    () => tensor(),
    () => [tensor()],
    () => [[[tensor()]]],
    () => ({ x: tensor() }),
    () => Object.assign(Object.create(null), { x: tensor() }),
    () => new Map([['x', tensor()]]),
    () => new Set([tensor()]),
    () => ({ list: [{ map: new Map([[1, { x: tensor() }]]) }] }),
  ];
  for (const body of inner) {
    const outer = liveHandles();
    scope(() => {
      const result = scope(() => {
        tensor();
        return body();
      });
      assert.equal(liveHandles() - outer, 1, String(body));
      assert.ok(result);
    });
    assert.equal(liveHandles(), outer, `${body}: the scope around frees what the inner one returned`);
  }
});

test('one tensor in several places survives once', () => {
  const [a, b] = scope(() => {
    const x = tensor();
    return [x, x];
  });
  assert.equal(a, b);
  assert.equal(made(), 1);
  a?.dispose();
});

test('what goes round in circles is no trouble', () => {
  interface Ring {
    x: Tensor;
    self?: Ring;
  }
  const ring = scope(() => {
    const result: Ring = { x: tensor() };
    result.self = result;
    return result;
  });
  assert.equal(ring.x.item(), 1);
  ring.x.dispose();
  assert.equal(made(), 0);
});

test('tensors inside an instance of a class do not survive, and say so when they are used', () => {
  class Box {
    readonly x = tensor();
  }
  const box = scope(() => new Box());
  assert.throws(() => ops.add(box.x, 1), /disposed/);
  assert.equal(made(), 0);
});

test('a tensor of an outer scope passes through an inner one unharmed', () => {
  scope(() => {
    const x = tensor();
    assert.equal(
      scope(() => x),
      x,
    );
    assert.equal(scope(() => ops.add(x, 1)).item(), 2);
    assert.equal(x.item(), 1);
  });
  const outside = tensor();
  scope(() => scope(() => [outside]));
  assert.equal(outside.item(), 1);
  outside.dispose();
  assert.equal(made(), 0);
});

test('kept tensors survive all scopes, whichever they were made in', () => {
  const kept = scope(() => {
    const outer = tensor();
    const [inner] = scope(() => {
      keep(outer);
      return [{ x: keep(tensor()) }, tensor()];
    });
    keep(outer);
    return [outer, keep(keep(tensor())), (inner as { x: Tensor }).x];
  });
  assert.equal(made(), 3);
  for (const x of kept) {
    assert.equal(x.item(), 1);
    x.dispose();
  }
  const outside = tensor();
  scope(() => keep(outside));
  keep(outside);
  assert.equal(outside.item(), 1);
  outside.dispose();
  assert.equal(made(), 0);
});

test('kept tensors survive an exception, others do not', () => {
  let kept: Tensor | undefined;
  assert.throws(
    () =>
      scope(() => {
        kept = keep(tensor());
        tensor();
        scope(() => {
          tensor();
          throw new Error('inside');
        });
      }),
    /inside/,
  );
  assert.equal(made(), 1);
  kept?.dispose();
  scope(() => tensor());
  assert.equal(
    scope(() => 1),
    1,
    'scopes work on after an exception',
  );
});

test('an exception of the inner scope may be caught in the outer one', () => {
  scope(() => {
    const x = tensor();
    assert.throws(() => scope(() => ops.reshape(x, [2])));
    assert.equal(ops.add(x, 1).item(), 2, 'what is made now belongs to the outer scope');
    assert.equal(made(), 2);
  });
  assert.equal(made(), 0);
});

test('what a getter of the result throws frees everything', () => {
  const result = () => ({
    x: tensor(),
    get y() {
      throw new Error('getter');
    },
  });
  assert.throws(() => scope(() => scope(result)), /getter/);
  scope(() => assert.throws(() => scope(result), /getter/));
  assert.equal(made(), 0);
});

test('disposing by hand inside a scope is harmless, even when the slot is used again', () => {
  const survivor = scope(() => {
    const x = tensor();
    x.dispose();
    return ops.float32([2]);
  });
  assert.equal(survivor.item(), 2);
  survivor.dispose();
  scope(() => {
    const x = tensor();
    native().disposeAll([x.handle]);
    return x;
  });
  assert.equal(made(), 0);
});

test('a promise is refused, its tensors are freed, and its end troubles nobody', async () => {
  const later = async () => {
    const x = tensor();
    await Promise.resolve();
    ops.add(x, 1); // x is gone by now
  };
  assert.throws(
    () => scope(later),
    /Expected a synchronous function for scope but received one that returns a promise/,
  );
  assert.throws(() => scope(() => noGrad(later)), /for noGrad/);
  assert.throws(() => scope(() => autocast('cpu', 'bfloat16', later)), /for autocast/);
  await new Promise((resolve) => setImmediate(resolve)); // an unhandled rejection would fail this test
  assert.equal(made(), 0);
});

test('a hundred thousand tensors in one scope', () => {
  scope(() => {
    const x = tensor();
    for (let i = 0; i < 100_000; i++) ops.reshape(x, [1]);
    assert.equal(made(), 100_001);
  });
  assert.equal(made(), 0);
});

test('`using` frees a tensor at the end of its block', () => {
  const before = liveHandles();
  {
    using x = ops.zeros([2]);
    assert.deepEqual([...x.float32()], [0, 0]);
    assert.equal(liveHandles(), before + 1);
  }
  assert.equal(liveHandles(), before);
});
