// Loading a checkpoint into the model: other resolutions, missing, unexpected and mismatched entries, strictness.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { architectureOf } from '#blip/model/architecture.js';
import { compareEntries, describeLoad, interpolatePositions, loadPretrained } from '#blip/model/pretrained.js';
import { isEvaluated, stateDictEntries } from '#blip/model/state-dict.js';
import * as ops from '#blip/torch/ops.js';
import { absent, fixture } from '../helpers/fixtures.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { assertClose, goldenTensors, readJson } from '../helpers/tensors.js';

const at = (imageSize: number, queueSize = 64) => architectureOf({ vit: 'tiny', imageSize, queueSize, medConfig: {} });

/** The entries of the tiny model at 96 pixels, without those that pos_embed.json's checkpoint lacks, and with one more. */
function oddEntries(): Map<string, { shape: readonly number[] }> {
  const entries = stateDictEntries(at(96)).filter(([name]) => !/^itm_head|word_embeddings/.test(name));
  return new Map([
    ...entries.map(([name, shape]): [string, { shape: readonly number[] }] => [name, { shape }]),
    ['unexpected.weight', { shape: [3] }],
  ]);
}

test('missing and unexpected names are those of the reference', () => {
  const expected = readJson<{ missing_keys: string[]; unexpected_keys: string[] }>(
    fixture('rule_tiny/pos_embed.json') as string,
  );
  const report = compareEntries('odd.pth', oddEntries(), at(144, 128));
  assert.deepEqual(report.missing, expected.missing_keys);
  assert.deepEqual(report.unexpected, expected.unexpected_keys);
  assert.deepEqual(
    report.mismatched.map(({ name }) => name),
    ['image_queue', 'text_queue', 'idx_queue'],
  );
  assert.deepEqual(report.interpolated, [
    { name: 'visual_encoder.pos_embed', from: 36, to: 81 },
    { name: 'visual_encoder_m.pos_embed', from: 36, to: 81 },
  ]);
  const lines = describeLoad(report);
  assert.equal(lines[0], 'reshape position embedding from 36 to 81');
  assert.match(lines.join('\n'), /itm_head\.weight/);
});

test('position embeddings of another resolution are interpolated as in the reference', () => {
  const golden = goldenTensors(fixture('rule_tiny/pos_embed.safetensors') as string);
  const entries = stateDictEntries(at(96));
  const state = ruleWeights(entries, { scale: 0.15, wanted: (name) => name === 'visual_encoder.pos_embed' });
  const embedding = state.get('visual_encoder.pos_embed');
  assert.ok(embedding);
  assertClose(interpolatePositions(embedding, 9), golden('pos_embed_144'), 1e-6, 'pos_embed_144');
});

test('odd.pth: an incomplete checkpoint is refused by name, and taken with allowPartial', async (t) => {
  const [path, positions] = [fixture('pth/odd.pth'), fixture('pos_embed.safetensors')];
  if (!path || !positions) return t.skip(absent('pth/odd.pth'));
  await assert.rejects(loadPretrained(path, at(144, 128)), {
    name: 'UserError',
    message: /odd\.pth does not fit the config: 3 weights are .*word_embeddings.*itm_head.*`allowPartial`\.$/,
  });
  const { state } = await loadPretrained(path, at(144, 128), { allowPartial: true, seed: 1 });
  const names = stateDictEntries(at(144, 128)).map(([name]) => name);
  assert.deepEqual([...state.keys()], names.filter(isEvaluated));
  const found = state.get('visual_encoder.pos_embed');
  assert.ok(found);
  assertClose(found, goldenTensors(positions)('pos_embed_144'), 1e-6, 'pos_embed_144');
  const again = await loadPretrained(path, at(144, 128), { allowPartial: true, seed: 1 });
  for (const name of ['itm_head.weight', 'text_encoder.embeddings.word_embeddings.weight']) {
    const [a, b] = [state.get(name), again.state.get(name)];
    assert.ok(a && b);
    assertClose(a, b, 0, `${name}, drawn twice with one seed,`);
  }
});

test('weights that no checkpoint gives have the standard deviation of med_config', async (t) => {
  const path = fixture('pth/odd.pth');
  if (!path) return t.skip(absent('pth/odd.pth'));
  const architecture = architectureOf({
    vit: 'tiny',
    imageSize: 144,
    queueSize: 128,
    medConfig: { initializerRange: 0.5 },
  });
  const { state } = await loadPretrained(path, architecture, { allowPartial: true });
  const words = state.get('text_encoder.embeddings.word_embeddings.weight');
  assert.ok(words);
  const meanSquare = ops.mean(ops.mul(words, words)).item();
  assert.ok(Math.abs(Math.sqrt(meanSquare) - 0.5) < 0.01, `${Math.sqrt(meanSquare)}`);
});

test('a checkpoint of another vit is refused with the vision encoder named', async (t) => {
  const path = fixture('tiny.pth');
  if (!path) return t.skip(absent('tiny.pth'));
  const base = architectureOf({ vit: 'base', imageSize: 384, medConfig: {} });
  await assert.rejects(loadPretrained(path, base), {
    name: 'UserError',
    message: / 469 weights .*the vision encoder among them\. Of another shape: .* instead of .*\. Check vit/,
  });
});
