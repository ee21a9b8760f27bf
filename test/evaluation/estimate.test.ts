// The estimate of an evaluation: exact arithmetic on made-up costs, and what does not fit into a memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import {
  type EvaluationCosts,
  evaluationSeconds,
  expectedPairs,
  keptBytesOfImage,
  stemBytes,
} from '#blip/evaluation/estimate.js';
import { demandEncodingMemory, demandFeatureMemory } from '#blip/evaluation/memory.js';
import { architectureOf } from '#blip/model/architecture.js';

const counts = { images: 100, texts: 500, distinct: 400, tokens: 4000 };
const steps = { token: 10, keysValues: 1000, encoding: 5000 };
const costs: EvaluationCosts = {
  start: 2,
  image: 0.5,
  token: 0.001,
  similarity: 1e-6,
  work: 1e-4,
  distinctShare: 0.9,
};

test('pairs: both directions, those of both once', () => {
  // 100 images ask for 10 of 500 texts, of which 8 differ; 400 texts for 10 images.
  assert.equal(expectedPairs(counts, 10, 1), 100 * 8 + 400 * 10);
  assert.equal(expectedPairs(counts, 10, 0.9), 0.9 * 4800);
  assert.equal(expectedPairs(counts, 10, 0.1), 4000, 'never fewer than one direction alone');
  assert.equal(expectedPairs(counts, 1000, 0.9), 40_000, 'never more than there are');
});

test('seconds of one process', () => {
  const found = evaluationSeconds(counts, costs, { kTest: 10, steps, kept: 100, ranks: 1 });
  assert.equal(found.pairs, 4320);
  assert.equal(found.features, 2 + 4 + 50 + 0.05);
  // Keys and values of 100 images, ten tokens a pair.
  assert.equal(found.rerank, (100 * 1000 + 4320 * 10 * 10) * 1e-4);
});

test('images beyond the memory are encoded twice, and the loader starts again', () => {
  const all = evaluationSeconds(counts, costs, { kTest: 10, steps, kept: 100, ranks: 1 });
  const some = evaluationSeconds(counts, costs, { kTest: 10, steps, kept: 60, ranks: 1 });
  assert.equal(some.features, all.features);
  assert.ok(Math.abs(some.rerank - all.rerank - (40 * 0.5 + 2)) < 1e-9);
});

test('ranks share images and pairs; each encodes all texts', () => {
  const one = evaluationSeconds(counts, costs, { kTest: 10, steps, kept: 100, ranks: 1 });
  const four = evaluationSeconds(counts, costs, { kTest: 10, steps, kept: 100, ranks: 4 });
  assert.equal(four.rerank, one.rerank / 4);
  assert.ok(Math.abs(one.features - four.features - 50 * (3 / 4)) < 1e-9);
});

test('bytes of kept tokens and stems', () => {
  const base = architectureOf({ vit: 'base', imageSize: 384, queueSize: 57_600, medConfig: {} });
  assert.equal(keptBytesOfImage(base, 'fp32'), 577 * 768 * 4);
  assert.equal(keptBytesOfImage(base, 'bf16'), 577 * 768 * 2);
  assert.equal(stemBytes(base, 'fp32'), 768 * 4);
});

const refused = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof UserError, String(error));
  assert.match(error.message, message);
  return true;
};

test('a batch of images that does not fit: the largest that does, or the largest image', () => {
  const encoding = { perImage: 100, held: 1000 };
  const sizes = (batchSize: number) => ({ batchSize, imageSize: 384 });
  demandEncodingMemory(encoding, sizes(8), 1800); // exactly
  assert.throws(
    () => demandEncodingMemory(encoding, sizes(9), 1899),
    refused(/largest batch_size_test that fits is 8\./),
  );
  // A quarter of the memory of an image is left: half its side.
  assert.throws(
    () => demandEncodingMemory(encoding, sizes(1), 1025),
    refused(/largest image_size that fits is about 192\./),
  );
});

test('feature_memory that does not fit: the most that does', () => {
  const needed = { images: 600, stems: 200, working: 1000 };
  demandFeatureMemory(5000, needed, 1800);
  assert.throws(() => demandFeatureMemory(5000, needed, 1799), refused(/The largest that fits is 799 bytes/));
});
