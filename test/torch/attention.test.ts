// Attention on the CPU: the values of plain products and a softmax, whatever the lengths, widths, layouts and types, and in
// bfloat16 the gradients, which native/attention.cc computes itself.
// Covers native/attention.cc. The kernels for narrower processors are tried in processes of their own, since the choice is made once.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { attendOnCpu } from '#blip/model/packed-attention.js';
import { packingOf } from '#blip/model/packed-texts.js';
import type { DType } from '#blip/torch/dtype.js';
import { manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import { noGrad, scope, type Tensor } from '#blip/torch/tensor.js';
import { assertClose } from '../helpers/tensors.js';

const float = (x: Tensor) => ops.to(x, { dtype: 'float32' });

/** softmax(q·kᵀ/√d)·v in products of their own, (B, H, L, d). */
function plain(q: Tensor, k: Tensor, v: Tensor): Tensor {
  const scores = ops.matmul(float(q), ops.transpose(float(k), 2, 3));
  return ops.matmul(ops.softmax(ops.mul(scores, q.size(3) ** -0.5), -1), float(v));
}

/** Largest error: of float32 sums, and of results that are rounded to bfloat16. */
const tolerance = (dtype: DType) => (dtype === 'float32' ? 2e-6 : 1.6e-2);

// Fewer and more rows than a block, one over, and keys that fill vectors, panels and chunks, or not.
const shapes: [batch: number, heads: number, queries: number, keys: number, width: number][] = [
  [1, 12, 37, 577, 64],
  [1, 2, 577, 577, 64],
  [2, 3, 1, 1, 64],
  [1, 2, 12, 16, 64],
  [1, 2, 13, 17, 64],
  [3, 4, 5, 33, 16],
  [1, 1, 205, 40, 80],
  [2, 2, 7, 9, 20],
];

for (const dtype of ['float32', 'bfloat16'] as const)
  for (const [b, h, m, l, d] of shapes)
    test(`${dtype}, ${b} × ${h} heads, ${m} queries, ${l} keys of ${d}`, () => {
      manualSeed(1);
      scope(() => {
        const drawn = (rows: number) => ops.to(ops.randn([b, rows, h, d]), { dtype });
        const [q, k, v] = [drawn(m), drawn(l), drawn(l)].map((x) => ops.transpose(x, 1, 2)) as [Tensor, Tensor, Tensor];
        const out = ops.attention(q, k, v);
        assert.equal(out.dtype, dtype);
        assertClose(float(out), plain(q, k, v), tolerance(dtype), 'values');
        // Another layout: the width is not the innermost dimension.
        const crossed = ops.transpose(ops.contiguous(ops.transpose(k, 2, 3)), 2, 3);
        assertClose(float(ops.attention(q, crossed, v)), plain(q, k, v), tolerance(dtype), 'another layout');
      });
    });

for (const dtype of ['float32', 'bfloat16'] as const)
  test(`${dtype}: a packed text sees its own tokens, and gets the same result whatever stands beside it`, () => {
    manualSeed(2);
    scope(() => {
      const lengths = [1, 1, 2, 8, 8, 13, 16, 17, 35, 40];
      const packing = packingOf(lengths, 'cpu');
      const qkv = ops.to(ops.randn([packing.tokens, 3 * 4 * 64]), { dtype });
      const parts = ops.split(qkv, [256, 256, 256], 1).map((x) => ops.reshape(x, [packing.tokens, 4, 64]));
      const [q, k, v] = parts as [Tensor, Tensor, Tensor];
      const all = attendOnCpu(q, k, v, packing, 0);
      const first = attendOnCpu(ops.indexSelect(q, 0, packing.first), k, v, packing, 0);
      assertClose(float(first), float(ops.indexSelect(all, 0, packing.first)), 0, 'first tokens alone');
      let at = 0;
      for (const length of lengths) {
        const own = (x: Tensor) => ops.slice(x, 0, at, at + length);
        const batched = (x: Tensor) => ops.transpose(ops.reshape(own(x), [1, length, 4, 64]), 1, 2);
        const alone = attendOnCpu(own(q), own(k), own(v), packingOf([length], 'cpu'), 0);
        assert.deepEqual(ops.contiguous(own(all)).bytes(), alone.bytes());
        const expected = ops.transpose(plain(batched(q), batched(k), batched(v)), 1, 2);
        assertClose(float(alone), ops.reshape(expected, [length, 4, 64]), tolerance(dtype), `text of ${length}`);
        at += length;
      }
    });
  });

test('what is not a number stays so, and large scores do not overflow', () => {
  scope(() => {
    const q = ops.full([1, 1, 2, 64], 60);
    const k = ops.full([1, 1, 20, 64], 60);
    const v = ops.full([1, 1, 20, 64], 3);
    assertClose(ops.attention(q, k, v), ops.full([1, 1, 2, 64], 3), 1e-6, 'large scores');
    ops.fillInPlace(ops.slice(q, 2, 1, 2), Number.NaN);
    const out = ops.attention(q, k, v).float32();
    assert.deepEqual([...out.subarray(0, 64)].map(Math.round), new Array(64).fill(3));
    assert.ok(out.subarray(64).every(Number.isNaN));
  });
});

test('with gradients it is LibTorch’s, and none at all without keys or queries', () => {
  scope(() => {
    const [q, k, v] = [ops.randn([1, 2, 3, 8]), ops.randn([1, 2, 4, 8]), ops.randn([1, 2, 4, 8])];
    const without = ops.attention(q, k, v);
    q.requiresGrad = true;
    const out = ops.attention(q, k, v);
    ops.sum(out).backward();
    assert.notEqual(q.grad, null);
    assert.equal(noGrad(() => ops.attention(q, k, v)).requiresGrad, false);
    assertClose(ops.detach(out), without, 1e-6, 'values');
    assert.deepEqual(ops.attention(ops.randn([1, 2, 0, 8]), k, v).shape, [1, 2, 0, 8]);
  });
});

for (const [queries, keys] of [
  [9, 9],
  [70, 577],
] as const)
  test(`bfloat16's gradients, ${queries} queries and ${keys} keys: those of float32, rounded`, () => {
    manualSeed(3);
    scope(() => {
      const drawn = [queries, keys, keys, queries].map((rows) =>
        ops.to(ops.randn([2, rows, 3, 64]), { dtype: 'bfloat16' }),
      );
      const gradients = (dtype: DType) => {
        const leaves = drawn.slice(0, 3).map((x) => ops.clone(ops.to(x, { dtype })));
        for (const leaf of leaves) leaf.requiresGrad = true;
        const heads = leaves.map((x) => ops.transpose(x, 1, 2)) as [Tensor, Tensor, Tensor];
        ops.backward(ops.transpose(ops.attention(...heads), 1, 2), ops.to(drawn[3] as Tensor, { dtype }));
        return leaves.map((leaf) => float(leaf.grad as Tensor));
      };
      const [half, whole] = [gradients('bfloat16'), gradients('float32')];
      for (const [i, name] of ['q', 'k', 'v'].entries()) {
        const [own, expected] = [half[i] as Tensor, whole[i] as Tensor];
        const norm = (x: Tensor) => Math.sqrt(ops.sum(ops.mul(x, x)).item());
        assert.ok(norm(ops.sub(own, expected)) < 0.01 * norm(expected), name);
      }
    });
  });

test('ends that do not fit are refused before memory is read', () => {
  scope(() => {
    const x = ops.randn([4, 2, 8]);
    const ends = (...values: number[]) => ops.to(ops.int64(values), { dtype: 'int32' });
    for (const [queries, tokens] of [
      [ends(0, 5), ends(0, 4)],
      [ends(0, 3, 2, 4), ends(0, 1, 2, 4)],
      [ends(0, 3), ends(0, 4)],
      [ends(1, 4), ends(0, 4)],
      [ends(-1, 4), ends(0, 4)],
      [ends(0, 4), ends(0, 2, 4)],
    ] as [Tensor, Tensor][])
      assert.throws(() => ops.attentionPacked(x, x, x, queries, tokens), /ends/);
    assert.throws(() => ops.attentionPacked(x, x, ops.randn([5, 2, 8]), ends(0, 4), ends(0, 4)), /expected float32/);
    assert.throws(() => ops.attentionPacked(x, x, x, ops.int64([0, 4]), ends(0, 4)), /int32/);
  });
});

for (const limit of ['avx2', 'default'])
  test(`the kernels of a processor without more than ${limit} pass the same tests`, (context) => {
    if (process.env.ATEN_CPU_CAPABILITY !== undefined) {
      context.skip('this is that process');
      return;
    }
    const env = { ...process.env, ATEN_CPU_CAPABILITY: limit, NODE_TEST_CONTEXT: undefined };
    const { status, stdout } = spawnSync(process.execPath, ['--test', fileURLToPath(import.meta.url)], {
      env,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout);
  });
