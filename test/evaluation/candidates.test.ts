// Which pairs are re-ranked: distinct texts, the top k of both directions, each pair once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pairsByImage, selectCandidates } from '#blip/evaluation/candidates.js';
import { uniqueTexts } from '#blip/evaluation/unique-texts.js';
import { packTexts, tokenChunks } from '#blip/model/packed-texts.js';
import * as ops from '#blip/torch/ops.js';
import { scope } from '#blip/torch/tensor.js';

test('equal texts become one row, rows are ordered by length', () => {
  const rows = [
    [1, 5, 6, 2],
    [1, 2],
    [1, 5, 6, 2],
    [1, 7, 2],
    [1, 2],
  ];
  const texts = uniqueTexts(rows.map((row) => Int32Array.from(row)));
  assert.deepEqual([...texts.lengths], [2, 3, 4]);
  assert.deepEqual([...texts.rowOf], [2, 0, 2, 1, 0]);
  assert.deepEqual(
    texts.rows.map((row) => [...row]),
    [
      [1, 2],
      [1, 7, 2],
      [1, 5, 6, 2],
    ],
  );
  const packed = packTexts(texts.rows, 'cpu', { firstToken: 9 });
  assert.deepEqual(ops.to(packed.ids, { dtype: 'int64' }).integers(), [9, 2, 9, 7, 2, 9, 5, 6, 2]);
  assert.deepEqual(ops.to(packed.positions, { dtype: 'int64' }).integers(), [0, 1, 0, 1, 2, 0, 1, 2, 3]);
  assert.deepEqual(packed.packing.groups, [
    { count: 1, length: 2 },
    { count: 1, length: 3 },
    { count: 1, length: 4 },
  ]);
});

test('chunks hold at most the budget, and one row at the least', () => {
  const lengths = Int32Array.from([1, 2, 2, 7]);
  assert.deepEqual(
    [...tokenChunks(lengths, 5)],
    [
      [0, 3],
      [3, 4],
    ],
  );
  assert.deepEqual(
    [...tokenChunks(lengths, 1)],
    [
      [0, 1],
      [1, 2],
      [2, 3],
      [3, 4],
    ],
  );
  assert.deepEqual([...tokenChunks(lengths, 100)], [[0, 4]]);
});

test('each pair is listed once for its image, whichever direction wants it', () => {
  scope(() => {
    // Three images and three distinct texts along the axes; text 0 stands twice in the list of texts.
    const images = ops.float32([1, 0, 0, 0, 1, 0, 0, 0, 1], [3, 3]);
    const texts = ops.float32([0.9, 0.3, 0.1, 0.2, 0.8, 0.3, 0.1, 0.4, 0.9], [3, 3]);
    const rowOf = Int32Array.from([0, 1, 2, 0]);
    const candidates = selectCandidates(images, texts, rowOf, 2);
    assert.deepEqual([...candidates.imageToText.index.slice(0, 2)].sort(), [0, 3], 'equal texts take a slot each');
    assert.deepEqual([...candidates.textToImage.index], [0, 1, 1, 2, 2, 1]);
    const pairs = pairsByImage(candidates, Int32Array.from([3, 4, 6]));
    const lists = [0, 1, 2].map((image) => [...pairs.textsOf(image)]);
    assert.deepEqual(lists, [[0], [0, 1, 2], [1, 2]]);
    assert.deepEqual([...pairs.textsOf(1)], [0, 1, 2], 'asking twice gives the same list');
    assert.equal(pairs.total, 6);
    assert.deepEqual([...pairs.tokens], [3, 13, 10]);
    assert.deepEqual([...pairs.slotsOf(1)], [1, 2, 5]);
  });
});

test('similarities of many queries in blocks equal those of one product', () => {
  scope(() => {
    const [queries, others] = [ops.randn([300, 8]), ops.randn([70000, 8])]; // more than one block of 2^24 pairs
    const { imageToText } = selectCandidates(
      queries,
      others,
      Int32Array.from({ length: 70000 }, (_, i) => i),
      3,
    );
    const [values] = ops.topk(ops.matmul(queries, ops.transpose(others, 0, 1)), 3);
    const expected = values.float32();
    assert.equal(imageToText.similarity.length, 900);
    imageToText.similarity.forEach((value, i) => {
      assert.ok(Math.abs(value - (expected[i] ?? 0)) < 1e-5);
    });
  });
});
