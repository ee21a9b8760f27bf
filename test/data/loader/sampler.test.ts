// The sampler against the orders of PyTorch's DistributedSampler, and sets that are too small.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainingSampler } from '#blip/data/loader/sampler.js';
import { UserError } from '#blip/errors.js';

const order = (length: number, worldSize: number, rank: number, epoch: number, batchSize = 1) => [
  ...new TrainingSampler({ length, worldSize, rank, batchSize }).order(epoch),
];

// list(DistributedSampler(range(n), num_replicas=world, rank=rank, shuffle=True)) after set_epoch, torch 2.11.
test('orders are PyTorch’s, padded where the ranks do not divide the set', () => {
  assert.deepEqual(order(10, 1, 0, 0), [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]);
  assert.deepEqual(order(10, 1, 0, 1), [5, 6, 1, 2, 0, 8, 9, 3, 7, 4]);
  const four = [0, 1, 2, 3].map((rank) => order(10, 4, rank, 2));
  assert.deepEqual(four, [
    [8, 6, 2],
    [7, 9, 3],
    [1, 0, 8],
    [5, 4, 7],
  ]);
  assert.deepEqual(
    [0, 1].map((rank) => order(24, 2, rank, 5)),
    [
      [11, 13, 10, 16, 3, 17, 23, 22, 5, 1, 15, 4],
      [8, 6, 0, 19, 2, 12, 20, 21, 14, 18, 9, 7],
    ],
  );
  const eight = [0, 1, 2, 3, 4, 5, 6, 7].map((rank) => order(3, 8, rank, 1));
  assert.deepEqual(eight, [[1], [2], [0], [1], [2], [0], [1], [2]]);
});

test('COCO’s number of rows has PyTorch’s order', () => {
  const rows = order(566_747, 1, 0, 1);
  assert.deepEqual(rows.slice(0, 8), [175325, 543364, 475916, 123523, 491267, 550578, 104866, 57808]);
  const sum = rows.reduce((total, row, i) => total + BigInt(row) * BigInt(i), 0n);
  assert.equal(sum, 45506609570346206n);
});

test('the last short batch is dropped', () => {
  const sampler = new TrainingSampler({ length: 10, worldSize: 1, rank: 0, batchSize: 4 });
  assert.deepEqual([sampler.samples, sampler.batches], [10, 2]);
  assert.deepEqual([...sampler.order(0)], [4, 1, 7, 5, 3, 9, 0, 8]);
});

test('positions count over all ranks', () => {
  const sampler = new TrainingSampler({ length: 100, worldSize: 4, rank: 3, batchSize: 5 });
  assert.deepEqual([sampler.position(0), sampler.position(2), sampler.worldSize], [3, 43, 4]);
  const whole = order(100, 1, 0, 0);
  assert.deepEqual(
    [...sampler.order(0)].slice(10, 15),
    [0, 1, 2, 3, 4].map((i) => whole[sampler.position(2) + i * sampler.worldSize]),
  );
});

test('a set smaller than a batch is refused with the numbers', () => {
  const small = (length: number, worldSize: number) => () =>
    new TrainingSampler({ length, worldSize, rank: 0, batchSize: 32 });
  assert.throws(small(24, 1), (error) => {
    assert.ok(error instanceof UserError);
    assert.match(
      error.message,
      /has 24 rows: fewer than one batch of 32\. Lower batch_size_train to 24 or less, or add rows\.$/,
    );
    return true;
  });
  assert.throws(small(61, 2), /has 61 rows, which is 31 for each of 2 ranks: fewer than one batch of 32/);
  small(63, 2)();
});

test('impossible options are refused', () => {
  const good = { length: 8, worldSize: 2, rank: 0, batchSize: 2 };
  for (const bad of [
    { worldSize: 0 },
    { rank: 2 },
    { rank: -1 },
    { batchSize: 0 },
    { batchSize: 1.5 },
    { length: -1 },
  ]) {
    assert.throws(() => new TrainingSampler({ ...good, ...bad }), RangeError);
  }
});
