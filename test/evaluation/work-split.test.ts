// The split of re-ranking over ranks: every image once, no rank with much more than the mean, few images moved.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SampleRandom } from '#blip/data/images/philox.js';
import { type EncodedRange, rerankWork, splitByWork, stepCosts } from '#blip/evaluation/work-split.js';
import { architectureOf } from '#blip/model/architecture.js';

/** Equal numbers of images for each rank, with the tokens of `kept` of each rank's images at hand. */
function equalRanges(images: number, ranks: number, kept = images): EncodedRange[] {
  const bound = (rank: number) => Math.round((images * rank) / ranks);
  return Array.from({ length: ranks }, (_, rank) => {
    const [first, end] = [bound(rank), bound(rank + 1)];
    return { first, end, kept: Math.min(kept, end - first) };
  });
}

/** Work of each rank, with what it encodes again. */
function loadsOf(work: Float64Array, ranges: EncodedRange[], encoding: number, shares: Int32Array[]): number[] {
  return shares.map((images, rank) => {
    const { first, kept } = ranges[rank] ?? { first: 0, kept: 0 };
    const isKept = (image: number) => image >= first && image < first + kept;
    return images.reduce((total, image) => total + (work[image] ?? 0) + (isKept(image) ? 0 : encoding), 0);
  });
}

const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);

function assertEachOnce(shares: Int32Array[], images: number): void {
  const all = shares.flatMap((share) => [...share]).sort((a, b) => a - b);
  assert.deepEqual(
    all,
    Array.from({ length: images }, (_, i) => i),
  );
}

test('images of very many pairs at one place: a split by number would take twice as long', () => {
  const work = Float64Array.from({ length: 400 }, (_, image) => (image < 100 ? 50 : 10));
  const ranges = equalRanges(400, 4);
  const byNumber = ranges.map(({ first, end }) => sum([...work.subarray(first, end)]));
  const mean = sum(byNumber) / 4;
  assert.ok(Math.max(...byNumber) >= 2 * mean);
  const shares = splitByWork(work, ranges, 1);
  assertEachOnce(shares, 400);
  const loads = loadsOf(work, ranges, 1, shares);
  assert.ok(Math.max(...loads) < 1.05 * mean, `${loads} around ${mean}`);
  // Only what is too much moves.
  const moved = shares.map((images, rank) => images.filter((image) => Math.floor(image / 100) !== rank).length);
  assert.ok(sum(moved) <= 65, `${moved} images moved`);
});

test('no rank is more than one image above the mean, whatever the work', () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = new SampleRandom({ seed, epoch: 0, position: 0 });
    const [images, ranks, encoding] = [random.below(60), 1 + random.below(9), random.below(5)];
    const work = Float64Array.from({ length: images }, () => Math.round(1 / (random.next() + 0.01)));
    const ranges = equalRanges(images, ranks, random.below(12));
    const shares = splitByWork(work, ranges, encoding);
    assert.equal(shares.length, ranks);
    assertEachOnce(shares, images);
    const loads = loadsOf(work, ranges, encoding, shares);
    const largest = Math.max(0, ...work) + encoding;
    assert.ok(Math.max(...loads) <= sum(loads) / ranks + largest + 1e-9, `seed ${seed}: ${loads}`);
    assert.deepEqual(splitByWork(work, ranges, encoding), shares, 'every rank finds the same');
  }
});

test('equal work stays where it was encoded, and one rank has all', () => {
  const work = new Float64Array(12).fill(7);
  const shares = splitByWork(work, equalRanges(12, 3), 2);
  assert.deepEqual(
    shares.map((images) => [...images]),
    [
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 10, 11],
    ],
  );
  assert.deepEqual([...(splitByWork(work, equalRanges(12, 1, 3), 2)[0] ?? [])].length, 12);
});

test('images whose tokens are not kept move first', () => {
  const work = new Float64Array(6).fill(9);
  const [giver, taker] = splitByWork(
    work,
    [
      { first: 0, end: 4, kept: 2 },
      { first: 4, end: 6, kept: 2 },
    ],
    5,
  );
  assert.deepEqual(
    [[...(giver ?? [])], [...(taker ?? [])]],
    [
      [0, 1, 2],
      [3, 4, 5],
    ],
  );
});

test('more ranks than images, and images without pairs', () => {
  const shares = splitByWork(Float64Array.of(5, 5), equalRanges(2, 5), 1);
  assert.equal(shares.length, 5);
  assertEachOnce(shares, 2);
  assert.ok(shares.every((images) => images.length <= 1));
  const none = splitByWork(new Float64Array(6), equalRanges(6, 2), 0);
  assert.deepEqual(
    none.map((images) => [...images]),
    [
      [0, 1, 2],
      [3, 4, 5],
    ],
  );
  assert.deepEqual(
    splitByWork(new Float64Array(), equalRanges(0, 2), 3).map(({ length }) => length),
    [0, 0],
  );
});

test('base: to encode an image costs what some 500 text tokens cost, its keys and values fewer than 100', () => {
  const costs = stepCosts(architectureOf({ vit: 'base', imageSize: 384, medConfig: {} }));
  // The published 55.5 billion multiplications of ViT-B/16 at 384 pixels (arXiv 2010.11929's model in timm).
  assert.ok(Math.abs(costs.encoding / 55.5e9 - 1) < 0.03, `${costs.encoding}`);
  assert.equal(Math.round(costs.encoding / costs.token / 100), 5);
  assert.ok(costs.keysValues / costs.token < 100);
  const work = rerankWork({ tokens: Float64Array.of(0, 10) }, costs);
  assert.deepEqual([...work], [costs.keysValues, costs.keysValues + 10 * costs.token]);
});
