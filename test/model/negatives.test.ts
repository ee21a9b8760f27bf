// Hard negatives: never the own image, likelier the more similar, defined where there is none; pairs and their images.
// Covers model/negatives, itm-pairs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { itmPairs, rowsByImage } from '#blip/model/itm-pairs.js';
import { drawNegatives, negativeWeights } from '#blip/model/negatives.js';
import { FeatureQueues } from '#blip/model/queues.js';
import { manualSeed } from '#blip/torch/generator.js';
import { operator } from '#blip/torch/operator.js';
import * as ops from '#blip/torch/ops.js';
import { scope, type Tensor } from '#blip/torch/tensor.js';

/** Unit features of four rows, and the numbers of their images. */
function input(idx: number[], features = ops.normalize(ops.randn([idx.length, 8]), -1)) {
  const texts = ops.normalize(ops.randn([idx.length, 8]), -1);
  const numbers = ops.int64(idx);
  return {
    imageFeatures: features,
    textFeatures: texts,
    allImageFeatures: features,
    allTextFeatures: texts,
    idx: numbers,
    allIdx: numbers,
    temperature: ops.full([], 0.07),
  };
}

test('a negative is always of another image, and drawn in proportion to its weight', () => {
  manualSeed(1);
  scope(() => {
    const rows = input([4, 9, 4, 7]);
    const weights = negativeWeights(rows.textFeatures, rows.allImageFeatures, rows).float32();
    const counts = new Map<number, number>();
    const draws = 400;
    for (let i = 0; i < draws; i++) {
      const { imageOfText, textOfImage } = drawNegatives(rows);
      for (const choice of [imageOfText[0], textOfImage[0]]) assert.ok(choice === 1 || choice === 3);
      counts.set(imageOfText[0] ?? -1, (counts.get(imageOfText[0] ?? -1) ?? 0) + 1);
    }
    const [one, three] = [weights[1] ?? 0, weights[3] ?? 0];
    const expected = (draws * one) / (one + three);
    const deviation = Math.sqrt((draws * one * three) / (one + three) ** 2);
    assert.ok(Math.abs((counts.get(1) ?? 0) - expected) < 5 * deviation + 1);
  });
});

test('rows of one image alone have no negative, and the others keep theirs', () => {
  scope(() => {
    assert.deepEqual(drawNegatives(input([3, 3, 3])), { imageOfText: [-1, -1, -1], textOfImage: [-1, -1, -1] });
  });
});

test('features that are NaN draw nothing instead of failing', () => {
  scope(() => {
    const rows = input([1, 2], ops.full([2, 8], Number.NaN));
    assert.deepEqual(drawNegatives(rows).imageOfText, [-1, -1]);
  });
});

test('pairs are packed by length, each with its image and label', () => {
  scope(() => {
    const texts = [
      [101, 5, 6, 102],
      [101, 7, 102],
    ].map((ids) => Int32Array.from(ids));
    const negatives = { imageOfText: [1, -1], textOfImage: [1, 0] };
    const imageSlot = new Map([
      [0, 0],
      [1, 1],
    ]);
    const pairs = itmPairs(texts, 0, negatives, imageSlot, 9, 'cpu');
    // In order of length: (text 1, image 0, no), (text 1, image 1, yes), (text 0, image 0, yes), (text 0, image 1, no) twice.
    assert.deepEqual(pairs.labels.integers(), [0, 1, 1, 0, 0]);
    assert.equal(pairs.withoutNegative, 1);
    const integers = (x: Tensor) => ops.to(x, { dtype: 'int64' }).integers();
    assert.deepEqual(integers(pairs.texts.ids), [9, 7, 102, 9, 7, 102, 9, 5, 6, 102, 9, 5, 6, 102, 9, 5, 6, 102]);
    assert.deepEqual(integers(pairs.images), [0, 1]);
    assert.deepEqual(integers(pairs.firstRows.gather), [0, 3, 1, 4, 5]);
    assert.deepEqual(integers(pairs.firstRows.spread), [0, 2, 0, 1, 3, 4]);
  });
});

test('rows of images are laid out in equal blocks', () => {
  const { spread, gather } = rowsByImage(Int32Array.from([1, 1, 0]), 2);
  assert.deepEqual([...spread], [2, 0, 0, 1]);
  assert.deepEqual([...gather], [2, 3, 0]);
});

test('a draw gives the numbers of torch.multinomial, and leaves the generator where that does', () => {
  scope(() => {
    const torchMultinomial = operator('aten::multinomial');
    manualSeed(8);
    const weights = ops.softmax(ops.randn([64, 33]), 1);
    const draw = (by: () => Tensor) => {
      manualSeed(9);
      return [by().integers(), ops.randn([4]).float32()];
    };
    assert.deepEqual(
      draw(() => ops.multinomial(weights)),
      draw(() => torchMultinomial(weights, 1, false)),
    );
  });
});

/** Queues of `size` entries of width 2, empty. */
function queues(size: number): FeatureQueues {
  const pointer = ops.zeros([1], { dtype: 'int64' });
  return new FeatureQueues(
    ops.zeros([2, size]),
    ops.zeros([2, size]),
    ops.full([1, size], -100, { dtype: 'int64' }),
    pointer,
  );
}

test('a queue takes batches that do not divide its size, and batches longer than itself', () => {
  scope(() => {
    const queue = queues(5);
    const enqueue = (values: number[]) => {
      const features = ops.float32(
        values.flatMap((value) => [value, -value]),
        [values.length, 2],
      );
      queue.enqueue(features, ops.mul(features, 2), ops.int64(values));
    };
    enqueue([1, 2, 3]);
    enqueue([4, 5, 6]);
    assert.deepEqual(queue.idx.integers(), [6, 2, 3, 4, 5]);
    assert.deepEqual(queue.pointer.integers(), [1]);
    assert.deepEqual([...queue.images.float32()], [6, 2, 3, 4, 5, -6, -2, -3, -4, -5]);
    assert.deepEqual([...queue.texts.float32()].slice(0, 5), [12, 4, 6, 8, 10]);
    enqueue([10, 11, 12, 13, 14, 15, 16]);
    assert.deepEqual(queue.idx.integers(), [14, 15, 16, 12, 13]);
    assert.deepEqual(queue.pointer.integers(), [3]);
  });
});
