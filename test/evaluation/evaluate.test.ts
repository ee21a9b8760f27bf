// Scores and recalls of whole splits against the reference's, and that memory settings change nothing.
// Covers evaluation/evaluate, evaluate-retrieval, image-store, text-store, unique-texts, rerank, budgets, insight.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadRetrievalSplit } from '#blip/data/annotations.js';
import { ImageLoader } from '#blip/data/loader/loader.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { drawDataSet } from '#blip/demo/data-set.js';
import { METRICS } from '#blip/evaluation/bootstrap.js';
import { type EvaluationOptions, evaluateSplit } from '#blip/evaluation/evaluate.js';
import { evaluateRetrieval } from '#blip/evaluation/evaluate-retrieval.js';
import type { ImageSource } from '#blip/evaluation/image-store.js';
import { insightOf, type SplitInsight } from '#blip/evaluation/insight.js';
import { itmEval, type RetrievalMetrics } from '#blip/evaluation/recall.js';
import type { SplitScores } from '#blip/evaluation/rerank.js';
import { denseScores } from '#blip/evaluation/scores.js';
import { architectureOf } from '#blip/model/architecture.js';
import { BlipRetrieval } from '#blip/model/blip-retrieval.js';
import { loadPretrained } from '#blip/model/pretrained.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { liveHandles } from '#blip/torch/tensor.js';
import { temporaryFolder } from '../helpers/files.js';
import { absent, fixture } from '../helpers/fixtures.js';
import { readJson, ruleTinyModel } from '../helpers/tensors.js';

// Each test disposes its model: what one leaves to the garbage collector disappears during the count of handles in another.
const tokenizer = Tokenizer.load();
const silent = { dataReady() {}, step() {}, end() {}, abort() {} };
const defaults: EvaluationOptions = { kTest: 8, startLoop: () => silent, print: () => {} };

function loaderSource(images: string[]): ImageSource {
  return {
    count: images.length,
    open: (wanted) => {
      const paths = Array.from(wanted, (image) => images[image] ?? '');
      return new ImageLoader({ paths, size: 96, batchSize: 5, workers: 1 });
    },
  };
}

async function evaluate(
  model: BlipRetrieval,
  data: string,
  split: 'val' | 'test',
  options: Partial<EvaluationOptions> = {},
): Promise<{ scores: SplitScores; metrics: RetrievalMetrics; images: number; texts: number }> {
  const loaded = await loadRetrievalSplit({
    annRoot: `${data}/annotation`,
    imageRoot: `${data}/images`,
    dataset: 'coco',
    split,
  });
  const { scores } = evaluateSplit(
    model,
    {
      images: loaderSource(loaded.images),
      texts: loaded.texts.map((text) => tokenizer.encode(text).ids),
      encToken: tokenizer.encTokenId,
    },
    { ...defaults, ...options },
  );
  const metrics = itmEval(scores.imageToText, scores.textToImage, loaded.txt2img, loaded.img2txt);
  return { scores, metrics, images: loaded.images.length, texts: loaded.texts.length };
}

const asFloats = (data: Uint8Array) => new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);

function assertScores(actual: Float32Array, expected: Float32Array, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  let worst = 0;
  actual.forEach((score, i) => {
    worst = Math.max(worst, Math.abs(score - (expected[i] ?? Number.NaN)));
  });
  assert.ok(worst <= tolerance, `${what} differ by ${worst}`);
}

async function checkGolden(
  model: BlipRetrieval,
  folder: { data: string; scores: string; metrics: string },
): Promise<void> {
  const golden = readSafetensors(folder.scores);
  const { metrics } = readJson<{ metrics: Record<string, RetrievalMetrics> }>(folder.metrics);
  for (const split of ['val', 'test'] as const) {
    const result = await evaluate(model, folder.data, split);
    for (const [direction, rows] of [
      ['i2t', result.scores.imageToText],
      ['t2i', result.scores.textToImage],
    ] as const) {
      const expected = golden.get(`${split}_${direction}`);
      assert.ok(expected);
      assertScores(denseScores(rows), asFloats(expected.data), 1e-4, `${split} ${direction} scores`);
    }
    assert.deepEqual(result.metrics, metrics[split]);
    const { computed, reference } = result.scores.pairs;
    assert.equal(reference, (result.images + result.texts) * 8);
    assert.ok(computed < reference, 'pairs that both directions want, and equal texts, are computed once');
  }
}

test('rule_tiny: score matrices and recalls of both splits', async () => {
  using model = ruleTinyModel();
  await checkGolden(model, {
    data: fixture('rule_tiny/data') as string,
    scores: fixture('rule_tiny/eval.safetensors') as string,
    metrics: fixture('rule_tiny/eval.json') as string,
  });
});

test('tiny.pth: score matrices and recalls of both splits', async (t) => {
  const [checkpoint, data, scores, metrics] = ['tiny.pth', 'data', 'eval.safetensors', 'eval.json'].map(fixture);
  if (!checkpoint || !data || !scores || !metrics) return t.skip(absent('tiny.pth'));
  const architecture = architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} });
  const { state } = await loadPretrained(checkpoint, architecture);
  using model = new BlipRetrieval(state, architecture);
  await checkGolden(model, { data, scores, metrics });
});

/** What an evaluation of the test split in `data` with this k_test tells. */
async function insight(model: BlipRetrieval, data: string, kTest: number): Promise<SplitInsight> {
  const imageRoot = `${data}/images`;
  const split = await loadRetrievalSplit({ annRoot: `${data}/annotation`, imageRoot, dataset: 'coco', split: 'test' });
  const evaluation = evaluateRetrieval(model, tokenizer, 'test', split, { kTest });
  return insightOf({ ...evaluation, split, architecture: model.architecture, imageRoot, seed: 42 }).insight;
}

test('recalls by similarity alone are those that the reference gives its own matrix of similarities', async () => {
  using model = ruleTinyModel();
  const { metrics } = readJson<{ metrics: RetrievalMetrics }>(fixture('rule_tiny/similarity.json') as string);
  const { similarityMetrics } = await insight(model, fixture('rule_tiny/data') as string, 8);
  assert.deepEqual(similarityMetrics, metrics);
});

test('the curve over k_test holds the recalls of evaluations with k_test 8, 16 and 32, to the last digit', async () => {
  using model = ruleTinyModel();
  const data = temporaryFolder();
  await drawDataSet(data, { train: 1, val: 1, test: 40, seed: 5 });
  const { byK, kTest } = await insight(model, data, 40);
  assert.equal(kTest, 40);
  for (const k of [8, 16, 32]) {
    const { metrics } = await insight(model, data, k);
    assert.deepEqual(Object.fromEntries(METRICS.map((name, m) => [name, byK[k - 1]?.[m]])), metrics, `k_test ${k}`);
  }
  assert.notDeepEqual(byK[7], byK[15], 'k_test changes something');
});

test('no memory for features, and few tokens at a time, give the same scores', async () => {
  using model = ruleTinyModel();
  const data = fixture('rule_tiny/data') as string;
  const plain = await evaluate(model, data, 'val');
  const before = liveHandles();
  const printed: string[] = [];
  const tight = await evaluate(model, data, 'val', {
    featureMemory: 0,
    tokenBudget: 20,
    print: (line) => printed.push(line),
  });
  assertScores(denseScores(tight.scores.imageToText), denseScores(plain.scores.imageToText), 1e-5, 'i2t scores');
  assertScores(denseScores(tight.scores.textToImage), denseScores(plain.scores.textToImage), 1e-5, 't2i scores');
  assert.match(printed.join('\n'), /Image features of 0 of 10 images fit into memory/);
  assert.equal(liveHandles(), before, 'an evaluation leaves no tensor behind');
});

test('part of the images kept, the others encoded again', async () => {
  using model = ruleTinyModel();
  const data = fixture('rule_tiny/data') as string;
  const bytesOfBatch = 5 * 37 * 64 * 4;
  const printed: string[] = [];
  const part = await evaluate(model, data, 'val', {
    featureMemory: (bytesOfBatch * 1.5) / 0.75,
    print: (line) => printed.push(line),
  });
  assert.match(printed.join('\n'), /Image features of 5 of 10 images fit/);
  const plain = await evaluate(model, data, 'val');
  assertScores(denseScores(part.scores.imageToText), denseScores(plain.scores.imageToText), 1e-5, 'i2t scores');
});

test('k_test above the number of candidates is clamped, and said once', async () => {
  const printed: string[] = [];
  using model = ruleTinyModel();
  const { scores } = await evaluate(model, fixture('rule_tiny/data') as string, 'val', {
    kTest: 1000,
    print: (line) => printed.push(line),
  });
  assert.deepEqual(printed.filter((line) => line.startsWith('k_test 1000')).length, 1);
  assert.ok(
    denseScores(scores.imageToText).every((score) => score > -100),
    'every pair is re-ranked',
  );
});

test('no images or no texts are refused', () => {
  const empty = {
    images: { count: 0, open: () => ({ next: () => null, close() {} }) },
    texts: [Int32Array.from([101, 102])],
    encToken: 1,
  };
  using model = ruleTinyModel();
  assert.throws(() => evaluateSplit(model, empty, defaults), {
    name: 'UserError',
    message: /0 images and 1 caption\./,
  });
});
