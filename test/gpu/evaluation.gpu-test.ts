// The evaluation on a GPU: every golden in fp32, the variable-length attention, TF32 and bf16 close to fp32.
// Covers evaluation, model/packed-attention on a GPU.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadRetrievalSplit } from '#blip/data/annotations.js';
import { ImageLoader } from '#blip/data/loader/loader.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { evaluateSplit } from '#blip/evaluation/evaluate.js';
import { itmEval, type RetrievalMetrics } from '#blip/evaluation/recall.js';
import { denseScores, NOT_RERANKED } from '#blip/evaluation/scores.js';
import { uniqueTexts } from '#blip/evaluation/unique-texts.js';
import { architectureOf } from '#blip/model/architecture.js';
import { BlipRetrieval } from '#blip/model/blip-retrieval.js';
import { range } from '#blip/model/offsets.js';
import { attendByLength, attendVariableLength } from '#blip/model/packed-attention.js';
import { packingOf, packTexts } from '#blip/model/packed-texts.js';
import { isEvaluated, stateDictEntries } from '#blip/model/state-dict.js';
import { cudaState } from '#blip/torch/cuda.js';
import { manualSeed } from '#blip/torch/generator.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import type { Precision } from '#blip/torch/precision.js';
import { readSafetensors, type SafeTensor } from '#blip/torch/safetensors.js';
import { liveHandles, scope } from '#blip/torch/tensor.js';
import { fixture } from '../helpers/fixtures.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { noStandIn } from '../helpers/strict-cuda.js';
import { assertClose, goldenTensors, readJson, ruleTinyModel, unpadded } from '../helpers/tensors.js';

const { count, problem } = cudaState();
const skip = count > 0 ? false : `no GPU: ${problem}`;
const device = 'cuda:0';
const TOLERANCE = 1e-3;
const silent = { dataReady() {}, step() {}, end() {}, abort() {} };

async function evaluateRuleTiny(model: BlipRetrieval, split: 'val' | 'test') {
  const data = fixture('rule_tiny/data') as string;
  const loaded = await loadRetrievalSplit({
    annRoot: `${data}/annotation`,
    imageRoot: `${data}/images`,
    dataset: 'coco',
    split,
  });
  const tokenizer = Tokenizer.load();
  const images = {
    count: loaded.images.length,
    open: (wanted: Int32Array) => {
      const paths = Array.from(wanted, (image) => loaded.images[image] ?? '');
      return new ImageLoader({ paths, size: 96, batchSize: 8 });
    },
  };
  const texts = loaded.texts.map((text) => tokenizer.encode(text).ids);
  const { scores } = evaluateSplit(
    model,
    { images, texts, encToken: tokenizer.encTokenId },
    { kTest: 8, startLoop: () => silent, print: () => {} },
  );
  return { scores, metrics: itmEval(scores.imageToText, scores.textToImage, loaded.txt2img, loaded.img2txt) };
}

/** The share of rows in which two candidates are so close that another rounding may put them in the other order. */
function shareOfNearTies({ data, shape: [rows = 0, columns = 0] }: SafeTensor): number {
  const scores = new Float32Array(data.slice().buffer);
  const near = range(0, rows).filter((row) => {
    const sorted = scores.slice(row * columns, (row + 1) * columns).sort();
    return sorted.some((score, i) => i > 0 && score - (sorted[i - 1] ?? score) < 2 * TOLERANCE && score > NOT_RERANKED);
  });
  return near.length / rows;
}

/** Recalls in percent are equal, but for rows whose order may be another. */
function assertRecalls(actual: RetrievalMetrics, expected: RetrievalMetrics, mayFlip: { i2t: number; t2i: number }) {
  for (const [key, value] of Object.entries(expected)) {
    const share = { t: mayFlip.i2t, i: mayFlip.t2i, r: Math.max(mayFlip.i2t, mayFlip.t2i) }[key[0] as 't' | 'i' | 'r'];
    const found = actual[key as keyof RetrievalMetrics];
    assert.ok(Math.abs(found - value) <= 100 * share + 1e-9, `${key} is ${found} instead of ${value}`);
  }
}

test('rule_tiny in fp32: scores and recalls of both splits', { skip }, async () => {
  const golden = readSafetensors(fixture('rule_tiny/eval.safetensors') as string);
  const { metrics } = readJson<{ metrics: Record<'val' | 'test', RetrievalMetrics> }>(
    fixture('rule_tiny/eval.json') as string,
  );
  const model = ruleTinyModel({ device });
  const before = liveHandles();
  for (const split of ['val', 'test'] as const) {
    const result = await evaluateRuleTiny(model, split);
    const rowsThatMayFlip = { i2t: 0, t2i: 0 };
    for (const [direction, rows] of [
      ['i2t', result.scores.imageToText],
      ['t2i', result.scores.textToImage],
    ] as const) {
      const expected = golden.get(`${split}_${direction}`);
      assert.ok(expected);
      const actual = ops.float32(denseScores(rows), [rows.rows, rows.columns]);
      assertClose(actual, ops.fromBytes(expected.data, 'float32', expected.shape), TOLERANCE, `${split} ${direction}`);
      rowsThatMayFlip[direction] = shareOfNearTies(expected);
      actual.dispose();
    }
    assertRecalls(result.metrics, metrics[split], rowsThatMayFlip);
  }
  assert.ok(liveHandles() <= before + 4, 'an evaluation leaves no tensor behind');
});

for (const vit of ['base', 'large'] as const) {
  for (const precision of ['fp32', 'tf32', 'bf16'] as Precision[]) {
    // Sizes and rounding of GPUs are nothing to the stand-in, and a CPU takes its time for them.
    const same =
      !noStandIn && (vit === 'large' || precision === 'tf32') && 'on the stand-in no other than base in fp32';
    test(`full_${vit} in ${precision}`, { skip: skip || same }, () => {
      const golden = goldenTensors(fixture(`full_${vit}.safetensors`) as string);
      const architecture = architectureOf({ vit, imageSize: 384, medConfig: {} });
      const state = ruleWeights(stateDictEntries(architecture), { wanted: isEvaluated });
      const model = new BlipRetrieval(state, architecture, { device, precision });
      native().setTf32(precision === 'tf32');
      try {
        manualSeed(12345);
        scope(() => {
          const images = ops.to(ops.randn([2, 3, 384, 384]), { device });
          const { embeds, features } = model.encodeImages(images);
          const tolerance = { fp32: TOLERANCE, tf32: 2e-2, bf16: 0.15 }[precision];
          assertClose(features, golden('image_feat'), tolerance, 'image_feat');
          const texts = uniqueTexts(unpadded(golden('input_ids'), golden('attention_mask')));
          const tokens = packTexts(texts.rows, device);
          const order = ops.to(ops.int64(texts.rowOf), { device });
          assertClose(
            ops.indexSelect(model.encodeTexts(tokens), 0, order),
            golden('text_feat'),
            tolerance,
            'text_feat',
          );
          const pairs = packTexts(texts.rows, device, { firstToken: 30523 });
          const logits = [0, 1].map((image) => {
            const keysValues = model.imageKeysValues(ops.select(embeds, 0, image));
            return ops.indexSelect(model.matchLogits(model.stem(pairs), pairs.packing, keysValues), 0, order);
          });
          assertClose(ops.stack(logits), golden('itm_logits'), tolerance, 'itm_logits');
        });
      } finally {
        native().setTf32(false);
      }
    });
  }
}

for (const [dtype, tolerance] of [
  ['float32', 1e-4],
  ['bfloat16', 5e-2], // two units in the last place of a value between 2 and 4 are 3.1e-2
] as const) {
  test(`variable-length attention in ${dtype} equals one attention for each length`, { skip }, () => {
    scope(() => {
      const packing = packingOf([2, 2, 5, 9, 9, 13], device);
      const random = (rows: number) => ops.to(ops.randn([rows, 12, 64]), { device, dtype });
      const [k, v] = [random(packing.tokens), random(packing.tokens)];
      for (const rows of [packing.tokens, packing.texts]) {
        const q = random(rows);
        const fast = attendVariableLength(q, k, v, packing, 0);
        assertClose(fast, attendByLength(q, k, v, packing, 0), tolerance, `${rows} queries`);
      }
    });
  });
}

test('the model has chosen the variable-length attention', { skip }, () => {
  assert.equal(ruleTinyModel({ device }).text.mode.attend, attendVariableLength);
  assert.equal(ruleTinyModel({ device, precision: 'bf16' }).text.mode.attend, attendVariableLength);
});

test('device memory is told and given back', { skip }, () => {
  const before = native().deviceMemory(0);
  assert.ok(before.total > 0 && before.free > 0);
  const block = ops.zeros([1 << 26], { device });
  assert.ok(native().deviceMemory(0).allocated >= before.allocated + (1 << 28));
  block.dispose();
  assert.ok(native().deviceMemory(0).allocated <= before.allocated);
});
