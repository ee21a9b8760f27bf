// Numbers that an evaluation gives beyond its recalls: of every smaller k_test, by similarity alone, with intervals. Each
// is compared with what the evaluation itself gives in a run of its own, or with a plain count.
// Covers evaluation/ranks, similarity-ranks, bootstrap, insight, examples.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pairedIntervals, recallIntervals } from '#blip/evaluation/bootstrap.js';
import { Retrieved } from '#blip/evaluation/examples.js';
import { enoughCandidates } from '#blip/evaluation/insight.js';
import { ranksByK, summariseRanks } from '#blip/evaluation/ranks.js';
import { itmEval } from '#blip/evaluation/recall.js';
import { scoreRows } from '#blip/evaluation/scores.js';
import { similarityRanks } from '#blip/evaluation/similarity-ranks.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles } from '#blip/torch/tensor.js';

/** Numbers that are the same in each run, of which many are equal. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
}

/** `images` images of 0 to 3 captions, k candidates of each query, and scores with many ties. */
function drawnSplit(seed: number, images: number, k: number) {
  const next = numbers(seed);
  const img2txt: number[][] = Array.from({ length: images }, () => []);
  const owners: number[] = [];
  for (const [image, captions] of img2txt.entries())
    for (let i = next(4); i > 0; i--) captions.push(owners.push(image) - 1);
  const txt2img = Int32Array.from(owners);
  const rowOf = txt2img.map((_, text) => text); // all texts distinct
  const topK = (queries: number, candidates: number) => {
    const most = Math.min(k, candidates);
    const index = new Int32Array(queries * most);
    for (let query = 0; query < queries; query++) {
      const left = Array.from({ length: candidates }, (_, i) => i);
      for (let slot = 0; slot < most; slot++) index[query * most + slot] = left.splice(next(left.length), 1)[0] ?? 0;
    }
    return { queries, k: most, index, similarity: new Float32Array(queries * most) };
  };
  const texts = txt2img.length;
  const candidates = { images, rowOf, imageToText: topK(images, texts), textToImage: topK(texts, images) };
  const scored = (count: number) => Float32Array.from({ length: count }, () => next(5) - 2);
  const slots = {
    imageToText: scored(candidates.imageToText.index.length),
    textToImage: scored(candidates.textToImage.index.length),
  };
  return { images, texts, txt2img, img2txt, candidates, slots };
}

/** The first k slots of each query. */
function shortened(split: ReturnType<typeof drawnSplit>, k: number) {
  const first = (topK: (typeof split.candidates)['imageToText'], scores: Float32Array) => {
    const most = Math.min(k, topK.k);
    const index = new Int32Array(topK.queries * most);
    const kept = new Float32Array(topK.queries * most);
    for (let query = 0; query < topK.queries; query++)
      for (let slot = 0; slot < most; slot++) {
        index[query * most + slot] = topK.index[query * topK.k + slot] ?? -1;
        kept[query * most + slot] = scores[query * topK.k + slot] ?? Number.NaN;
      }
    return [{ ...topK, k: most, index }, kept] as const;
  };
  const [imageToText, i2t] = first(split.candidates.imageToText, split.slots.imageToText);
  const [textToImage, t2i] = first(split.candidates.textToImage, split.slots.textToImage);
  return itmEval(
    scoreRows(imageToText, i2t, split.texts),
    scoreRows(textToImage, t2i, split.images, split.candidates.rowOf),
    split.txt2img,
    split.img2txt,
  );
}

test('counted ranks are those of the recalls, also with fewer than ten candidates', () => {
  for (const [seed, k] of [1, 3, 7, 12].entries()) {
    const split = drawnSplit(seed + 1, 23, k);
    const far = { imageToText: new Float64Array(split.images), textToImage: new Float64Array(split.texts) };
    const { imageToText, textToImage } = summariseRanks(split, far, split);
    const share = ({ counted }: typeof imageToText, depth: number) =>
      (100 * counted.filter((rank) => rank < depth).length) / counted.length;
    const { txt_r1, txt_r5, txt_r10, img_r1, img_r5, img_r10 } = shortened(split, k);
    assert.deepEqual(
      [1, 5, 10].flatMap((depth) => [share(imageToText, depth), share(textToImage, depth)]),
      [txt_r1, img_r1, txt_r5, img_r5, txt_r10, img_r10],
      `k ${k}`,
    );
  }
});

test('recalls of every smaller k are those of an evaluation with that k, ties and captionless images included', () => {
  for (const seed of [1, 2, 3, 4]) {
    const split = drawnSplit(seed, 23, 17);
    const far = { imageToText: new Float64Array(split.images), textToImage: new Float64Array(split.texts) };
    const { imageToText, textToImage } = summariseRanks(split, far, split);
    for (let k = 1; k <= 17; k++) {
      const separate = shortened(split, k);
      const recalls = (hits: readonly Int32Array[], queries: number) =>
        hits.map((found) => (100 * (found[k - 1] ?? Number.NaN)) / queries);
      const expected = [separate.txt_r1, separate.txt_r5, separate.txt_r10];
      assert.deepEqual(recalls(imageToText.hitsByK, split.images), expected, `seed ${seed}, k ${k}`);
      const images = [separate.img_r1, separate.img_r5, separate.img_r10];
      assert.deepEqual(recalls(textToImage.hitsByK, split.texts), images, `seed ${seed}, k ${k}`);
    }
  }
});

test('a target that scores below what was not re-ranked stands behind it', () => {
  const slots = { index: Int32Array.from([2, 0]), score: Float32Array.from([-200, 1]) };
  assert.deepEqual([...ranksByK(slots, [2], 5)], [4, 4]);
  assert.deepEqual([...ranksByK(slots, [4], 5)], [0, 1]);
  assert.deepEqual([...ranksByK(slots, [], 5)], [Infinity, Infinity]);
});

test('ranks by similarity are those of the whole matrix, in blocks, with equal texts', () => {
  const next = numbers(7);
  const [images, distinct, width] = [30, 40, 8];
  const features = (count: number) => Float32Array.from({ length: count * width }, () => next(5) - 2);
  const [ofImages, ofTexts] = [features(images), features(distinct)];
  const rowOf = Int32Array.from({ length: 70 }, () => next(distinct));
  const txt2img = Int32Array.from({ length: 70 }, () => next(images - 1)); // the last image has no caption
  const img2txt: number[][] = Array.from({ length: images }, () => []);
  for (const [text, image] of txt2img.entries()) img2txt[image]?.push(text);
  const similarity = (image: number, text: number) => {
    let sum = 0;
    for (let i = 0; i < width; i++)
      sum += (ofImages[image * width + i] ?? 0) * (ofTexts[(rowOf[text] ?? 0) * width + i] ?? 0);
    return sum;
  };
  const matrix = Float32Array.from({ length: images * 70 }, (_, i) => similarity(Math.floor(i / 70), i % 70));
  const transposed = Float32Array.from({ length: images * 70 }, (_, i) =>
    similarity(i % images, Math.floor(i / images)),
  );
  const handles = liveHandles();
  const tensors = [ops.float32(ofImages, [images, width]), ops.float32(ofTexts, [distinct, width])] as const;
  const ranks = similarityRanks(...tensors, rowOf, { txt2img, img2txt });
  for (const tensor of tensors) tensor.dispose();
  assert.equal(liveHandles(), handles);
  const metrics = itmEval(matrix, transposed, txt2img, img2txt);
  const recall = (values: Float64Array, k: number) => (100 * values.filter((rank) => rank < k).length) / values.length;
  assert.deepEqual(
    [1, 5, 10].flatMap((k) => [recall(ranks.imageToText, k), recall(ranks.textToImage, k)]),
    [metrics.txt_r1, metrics.img_r1, metrics.txt_r5, metrics.img_r5, metrics.txt_r10, metrics.img_r10],
  );
  assert.equal(ranks.imageToText[images - 1], Infinity);
});

test('intervals: seeded, around the recall, narrow where there is no doubt; paired ones see a small steady gain', () => {
  const images = 200;
  const txt2img = Int32Array.from({ length: images * 2 }, (_, text) => Math.floor(text / 2));
  const ranks = (found: number) => ({
    imageToText: Float64Array.from({ length: images }, (_, i) => (i < found ? 0 : 20)),
    textToImage: Float64Array.from({ length: images * 2 }, () => 0),
  });
  const a = recallIntervals(ranks(100), txt2img, { seed: 3 });
  assert.deepEqual(recallIntervals(ranks(100), txt2img, { seed: 3 }), a);
  assert.notDeepEqual(recallIntervals(ranks(100), txt2img, { seed: 4 }), a);
  assert.deepEqual(a.img_r1, { low: 100, high: 100 });
  // Binomial: the standard error of 50 % over 200 images is 3.5 points.
  assert.ok(Math.abs(a.txt_r1.low - (50 - 1.96 * 3.54)) < 1.5 && Math.abs(a.txt_r1.high - (50 + 1.96 * 3.54)) < 1.5);
  const gain = pairedIntervals(ranks(100), ranks(108), txt2img);
  assert.ok(gain.txt_r1.low > 0 && gain.txt_r1.low < 4 && gain.txt_r1.high > 4 && gain.txt_r1.high < 8);
  const none = pairedIntervals(ranks(100), ranks(100), txt2img);
  assert.deepEqual(none.r_mean, { low: 0, high: 0 });
});

test('enough candidates: the smallest k from which on the mean stays near', () => {
  assert.equal(enoughCandidates([10, 50, 49.95, 40, 50, 50.05, 50]), 5);
  assert.equal(enoughCandidates([50]), 1);
  assert.equal(enoughCandidates([10, 20, 30]), 3);
});

test('what was found for a query is ordered as the recalls count it', () => {
  const split = drawnSplit(5, 12, 6);
  const far = { imageToText: new Float64Array(split.images), textToImage: new Float64Array(split.texts) };
  const summary = summariseRanks(split, far, split);
  const ranks = { imageToText: summary.imageToText.ranks, textToImage: summary.textToImage.ranks };
  const loaded = {
    ...{ file: '', notes: [], txt2img: split.txt2img, img2txt: split.img2txt },
    images: Array.from({ length: split.images }, (_, i) => `/root/${i}.jpg`),
    texts: Array.from({ length: split.texts }, (_, i) => `text ${i}`),
  };
  const retrieved = new Retrieved(split, ranks, loaded, '/root');
  for (let text = 0; text < split.texts; text++) {
    const found = retrieved.found('textToImage', text, 6);
    const place = found.findIndex(({ isRight }) => isRight);
    if (place >= 0) assert.equal(retrieved.rank('textToImage', text), place + 1);
    assert.equal(found[0]?.name, `${found[0]?.id}.jpg`);
  }
});
