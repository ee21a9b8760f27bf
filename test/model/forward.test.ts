// Every intermediate of a forward pass against the reference's: image and text encoders, projections, ITM head.
// Covers model/vision-transformer, text-encoder, blip-retrieval.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uniqueTexts } from '#blip/evaluation/unique-texts.js';
import { architectureOf } from '#blip/model/architecture.js';
import { BlipRetrieval } from '#blip/model/blip-retrieval.js';
import { offsetsOf } from '#blip/model/offsets.js';
import { packTexts } from '#blip/model/packed-texts.js';
import { loadPretrained } from '#blip/model/pretrained.js';
import { isEvaluated, stateDictEntries } from '#blip/model/state-dict.js';
import { manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, scope, type Tensor } from '#blip/torch/tensor.js';
import { absent, fixture } from '../helpers/fixtures.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { assertClose, goldenTensors, ruleTinyModel, unpadded } from '../helpers/tensors.js';

const ENC = 30523;
const TOLERANCE = 2e-5;

/** The rows of `texts` in the order in which they were given. */
const inOrder = (rows: Tensor, rowOf: Int32Array) => ops.indexSelect(rows, 0, ops.int64(rowOf));

/** Real tokens of a padded golden (n, 35, D), packed in the order of `texts`. */
function packedGolden(golden: Tensor, rows: Int32Array[], rowOf: Int32Array): Tensor {
  const order = [...rowOf.keys()].sort((a, b) => (rowOf[a] ?? 0) - (rowOf[b] ?? 0));
  return ops.cat(order.map((text) => ops.slice(ops.select(golden, 0, text), 0, 0, rows[text]?.length ?? 0)));
}

function checkForward(model: BlipRetrieval, golden: (name: string) => Tensor): void {
  const { embeds, features } = model.encodeImages(golden('images'));
  assertClose(embeds, golden('image_embeds'), TOLERANCE, 'image_embeds');
  assertClose(features, golden('image_feat'), TOLERANCE, 'image_feat');

  const rows = unpadded(golden('input_ids'), golden('attention_mask'));
  const texts = uniqueTexts(rows);
  assert.equal(texts.rows.length, rows.length, 'the golden captions are distinct');
  const tokens = packTexts(texts.rows, 'cpu');
  assertClose(inOrder(model.encodeTexts(tokens), texts.rowOf), golden('text_feat'), TOLERANCE, 'text_feat');
  const hidden = model.text.forwardAll(tokens);
  assertClose(hidden, packedGolden(golden('text_hidden'), rows, texts.rowOf), TOLERANCE, 'text_hidden');

  const pairs = packTexts(texts.rows, 'cpu', { firstToken: ENC });
  const starts = offsetsOf(texts.lengths);
  const [logits, multimodal] = [[], []] as [Tensor[], Tensor[]];
  rows.forEach((row, i) => {
    const image = model.imageKeysValues(ops.select(embeds, 0, i));
    const own = texts.rowOf[i] ?? 0;
    logits.push(ops.select(model.matchLogits(model.stem(pairs), pairs.packing, image), 0, own));
    const all = model.text.forwardAll(pairs, { keysValues: image });
    const start = starts[own] ?? 0;
    multimodal.push(ops.slice(all, 0, start, start + row.length));
  });
  assertClose(ops.stack(logits), golden('itm_logits'), TOLERANCE, 'itm_logits');
  rows.forEach((row, i) => {
    const expected = ops.slice(ops.select(golden('multimodal_hidden'), 0, i), 0, 0, row.length);
    assertClose(multimodal[i] as Tensor, expected, TOLERANCE, `multimodal_hidden of pair ${i}`);
  });
}

test('rule_tiny: every intermediate of the forward pass', () => {
  const golden = goldenTensors(fixture('rule_tiny/forward.safetensors') as string);
  const model = ruleTinyModel();
  const before = liveHandles();
  scope(() => checkForward(model, golden));
  assert.equal(liveHandles(), before, 'a forward pass leaves no tensor behind');
});

test('tiny.pth: every intermediate of the forward pass', async (t) => {
  const [checkpoint, forward] = [fixture('tiny.pth'), fixture('forward.safetensors')];
  if (!checkpoint || !forward) return t.skip(absent('tiny.pth'));
  const architecture = architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} });
  const { state, report } = await loadPretrained(checkpoint, architecture);
  assert.deepEqual([report.missing, report.unexpected], [[], []]);
  scope(() => checkForward(new BlipRetrieval(state, architecture), goldenTensors(forward)));
});

for (const vit of ['base', 'large'] as const) {
  test(`full_${vit}: the published size on weights made by the rule`, () => {
    const golden = goldenTensors(fixture(`full_${vit}.safetensors`) as string);
    const architecture = architectureOf({ vit, imageSize: 384, medConfig: {} });
    const state = ruleWeights(stateDictEntries(architecture), { wanted: isEvaluated });
    const model = new BlipRetrieval(state, architecture);
    manualSeed(12345);
    scope(() => {
      const { embeds, features } = model.encodeImages(ops.randn([2, 3, 384, 384]));
      assertClose(ops.select(embeds, 1, 0), golden('image_embeds_cls'), TOLERANCE, 'image_embeds_cls');
      assertClose(features, golden('image_feat'), TOLERANCE, 'image_feat');
      const texts = uniqueTexts(unpadded(golden('input_ids'), golden('attention_mask')));
      const tokens = packTexts(texts.rows, 'cpu');
      assertClose(inOrder(model.encodeTexts(tokens), texts.rowOf), golden('text_feat'), TOLERANCE, 'text_feat');
      const pairs = packTexts(texts.rows, 'cpu', { firstToken: ENC });
      const logits = [0, 1].map((image) => {
        const keysValues = model.imageKeysValues(ops.select(embeds, 0, image));
        return inOrder(model.matchLogits(model.stem(pairs), pairs.packing, keysValues), texts.rowOf);
      });
      assertClose(ops.stack(logits), golden('itm_logits'), TOLERANCE, 'itm_logits');
    });
  });
}

test('bf16 stays close to fp32', () => {
  const golden = goldenTensors(fixture('rule_tiny/forward.safetensors') as string);
  scope(() => {
    const { features } = ruleTinyModel({ precision: 'bf16' }).encodeImages(golden('images'));
    assert.equal(features.dtype, 'float32');
    assertClose(features, golden('image_feat'), 0.05, 'image_feat');
  });
});
