// The choice of a packed attention: a kernel is taken only if its results and gradients are those of the plain way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attendByLength, attentionsAgree, type PackedAttention } from '#blip/model/packed-attention.js';
import { packingOf } from '#blip/model/packed-texts.js';
import { Generator, manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, noGrad, scope } from '#blip/torch/tensor.js';

/** Whether `fast` passes for attention on eight tokens of three texts. */
const passes = (fast: PackedAttention, gradients: boolean) =>
  scope(() => {
    manualSeed(3);
    const sample = ops.randn([8, 4, 16]);
    return attentionsAgree(fast, attendByLength, sample, packingOf([1, 3, 4], 'cpu'), gradients);
  });

/** Attends each text by itself, in a loop: another way to the same result. */
const oneByOne: PackedAttention = (q, k, v, packing, dropout) => {
  const lengths = packing.groups.flatMap(({ count, length }) => Array.from({ length: count }, () => length));
  const [queries, keys, values] = [q, k, v].map((x) => ops.split(x, lengths));
  return ops.cat(
    lengths.map((_, i) => {
      const batched = (parts: typeof queries) =>
        ops.reshape(ops.transpose(parts?.[i] as NonNullable<typeof parts>[number], 0, 1), [
          1,
          q.size(1),
          -1,
          q.size(2),
        ]);
      const out = ops.attention(batched(queries), batched(keys), batched(values), dropout);
      return ops.transpose(ops.reshape(out, [q.size(1), -1, q.size(2)]), 0, 1);
    }),
  );
};

test('another way to the same result and gradient passes', () => {
  const before = liveHandles();
  assert.equal(passes(oneByOne, false), true);
  assert.equal(passes(oneByOne, true), true);
  assert.equal(liveHandles(), before);
});

test('another result fails', () => {
  const scaled: PackedAttention = (...args) => ops.mul(attendByLength(...args), 1.1);
  assert.equal(passes(scaled, false), false);
  assert.equal(passes(scaled, true), false);
});

test('attention across texts fails', () => {
  const all: PackedAttention = (q, k, v, packing, dropout) =>
    attendByLength(q, k, v, { ...packing, groups: [{ count: 1, length: packing.tokens }] }, dropout);
  assert.equal(passes(all, false), false);
});

test('the right result with another gradient, or none, fails only where gradients are wanted', () => {
  const detachedKeys: PackedAttention = (q, k, v, packing, dropout) =>
    attendByLength(q, ops.detach(k), v, packing, dropout);
  const withoutGraph: PackedAttention = (...args) => noGrad(() => attendByLength(...args));
  assert.equal(passes(detachedKeys, false), true);
  assert.equal(passes(detachedKeys, true), false);
  assert.equal(passes(withoutGraph, false), true);
  assert.throws(() => passes(withoutGraph, true), /grad/);
});

test('a kernel that takes no dropout is refused by its own error where gradients are wanted', () => {
  const without: PackedAttention = (q, k, v, packing, dropout) => {
    if (dropout > 0) throw new RangeError('no dropout');
    return attendByLength(q, k, v, packing, 0);
  };
  assert.equal(passes(without, false), true);
  assert.throws(() => passes(without, true), /no dropout/);
});

test('making the choice leaves the random state of a run alone', async () => {
  const { attentionFor } = await import('#blip/model/packed-attention.js');
  const stateOf = () => scope(() => Generator.default('cpu').state.bytes());
  const before = stateOf();
  assert.equal(attentionFor({ width: 64, heads: 4 }, 'cpu', 'float32', { gradients: true }), attendByLength);
  assert.deepEqual(stateOf(), before);
});
