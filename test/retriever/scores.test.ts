// The Retriever's numbers: those of an evaluation with --save_scores, and those of the model itself.
// Covers retriever, engine, worker, model-thread.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { preCaption } from '#blip/data/caption.js';
import { decodeRgb } from '#blip/data/images/decode.js';
import { evaluationTransform } from '#blip/data/images/evaluation-transform.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { at } from '#blip/errors.js';
import { Retriever } from '#blip/index.js';
import { normalizeImages } from '#blip/model/normalize-images.js';
import { packTexts } from '#blip/model/packed-texts.js';
import * as ops from '#blip/torch/ops.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { deviceOfRank, testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';
import { readJson, ruleTinyModel } from '../helpers/tensors.js';
import { evaluationValues, tinyCheckpoint, tinyData, writeConfigFile } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const output = join(folder, 'out');
/** Rows of the test split: 24 images, 119 captions as the file has them. */
const rows = readJson<{ image: string; caption: string[] }[]>(join(tinyData, 'annotation/coco_karpathy_test.json'));
const images = rows.map(({ image }) => join(tinyData, 'images', image));
const captions = rows.flatMap(({ caption }) => caption);
const NOT_RERANKED = -100;
let blip: Retriever;
const device = deviceOfRank(0);

before(async () => {
  const checkpoint = await tinyCheckpoint(folder);
  const config = writeConfigFile(join(folder, 'c.yaml'), evaluationValues(checkpoint));
  const args = ['--config', config, '--output_dir', output, '--evaluate', '--save_scores', '--device', testDevice];
  const { code, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  blip = await Retriever.open(checkpoint, { device });
});
after(() => blip.close());

/** Greatest difference of two lists of numbers. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  return Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - at(b, i))), 0);
}

test('scores are those of --evaluate --save_scores within 1e-6, in both directions', async () => {
  const saved = readSafetensors(join(output, 'scores_test.safetensors'));
  const matrix = (name: string) => {
    const bytes = saved.get(name)?.data ?? new Uint8Array();
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  };
  const [i2t, t2i] = [matrix('i2t'), matrix('t2i')];
  const matches = await Promise.all(images.map((image) => blip.match(image, captions)));
  let compared = 0;
  for (const [i, ofImage] of matches.entries())
    for (const [t, { score, similarity, probability }] of ofImage.entries()) {
      assert.ok(probability >= 0 && probability <= 1 && Math.abs(similarity) <= 1 + 1e-6);
      for (const expected of [at(i2t, i * captions.length + t), at(t2i, t * images.length + i)]) {
        if (expected === NOT_RERANKED) continue;
        assert.ok(Math.abs(score - expected) <= 1e-6, `image ${i}, text ${t}: ${score} instead of ${expected}`);
        compared += 1;
      }
    }
  assert.equal(compared, 24 * 8 + 119 * 8);
});

test('a match of one text is that of several; similarity is the dot product of the features', async () => {
  const [image, other] = [at(images, 0), at(captions, 1)];
  const [first, second] = await blip.match(image, [at(captions, 0), other]);
  const alone = await blip.match(image, other);
  assert.ok(first !== undefined && second !== undefined);
  assert.ok(difference(Object.values(alone), Object.values(second)) < 1e-6);
  assert.notEqual(first.probability, second.probability);
  const [feature, [text]] = await Promise.all([blip.embedImage(image), blip.embedTexts([other])]);
  assert.ok(text !== undefined);
  const dot = feature.reduce((sum, value, i) => sum + value * at(text, i), 0);
  assert.ok(Math.abs(dot - second.similarity) < 1e-6);
  assert.deepEqual(await blip.match(image, []), []);
});

test('probability is the softmax of the logits that the model gives', async () => {
  const [image, text] = [at(images, 2), at(captions, 5)];
  const pixels = new Uint8Array(96 * 96 * 3);
  evaluationTransform(await decodeRgb(readFileSync(image)), 96, pixels);
  const model = ruleTinyModel();
  const tokenizer = Tokenizer.load();
  const packed = packTexts([tokenizer.encode(preCaption(text)).ids], 'cpu', { firstToken: tokenizer.encTokenId });
  const { embeds } = model.encodeImages(normalizeImages(ops.fromBytes(pixels, 'uint8', [1, 96, 96, 3]), 'cpu'));
  const keysValues = model.imageKeysValues(ops.select(embeds, 0, 0));
  const [no, yes] = model.matchLogits(model.stem(packed), packed.packing, keysValues).float32();
  model.dispose();
  assert.ok(no !== undefined && yes !== undefined);
  const { probability, score, similarity } = await blip.match(image, text);
  assert.ok(Math.abs(probability - Math.exp(yes) / (Math.exp(no) + Math.exp(yes))) < 1e-6);
  assert.ok(Math.abs(score - similarity - yes) < 1e-6);
});

test('features have unit length and are in the order given, however the texts are cut', async () => {
  const many = Array.from({ length: 4 }, () => captions).flat(); // 476 texts: several jobs and batches
  const done: number[] = [];
  const features = await blip.embedTexts(many, { onProgress: (count) => done.push(count) });
  assert.equal(features.length, many.length);
  assert.equal(done.at(-1), many.length);
  for (const [i, feature] of features.entries()) {
    assert.equal(feature.length, 256);
    assert.equal(feature.buffer.byteLength, 1024, 'one feature does not hold the others in memory');
    assert.ok(Math.abs(Math.hypot(...feature) - 1) < 1e-5);
    assert.ok(difference(feature, at(features, i % captions.length)) < 1e-5);
  }
  const reversed = await blip.embedTexts([...captions].reverse());
  for (const [i, feature] of reversed.reverse().entries()) assert.ok(difference(feature, at(features, i)) < 1e-5);
  assert.deepEqual(await blip.embedTexts([]), []);
});

test('a path, bytes, a view of bytes, a file URL and a Blob give one feature; so does embedImages', async () => {
  const path = at(images, 3);
  const bytes = readFileSync(path);
  const view = Buffer.concat([Buffer.alloc(5), bytes, Buffer.alloc(7)]).subarray(5, 5 + bytes.length);
  const before = Buffer.from(bytes);
  const given = [path, bytes, new Uint8Array(bytes), view, pathToFileURL(path), new Blob([bytes])];
  const together = await blip.embedImages(given);
  assert.deepEqual(bytes, before, 'the bytes are still the caller’s');
  for (const [i, image] of given.entries()) {
    assert.ok(difference(at(together, i), at(together, 0)) < 1e-6);
    assert.ok(difference(await blip.embedImage(image), at(together, 0)) < 1e-6);
  }
  const all = await blip.embedImages(images);
  for (const [i, image] of images.slice(0, 3).entries())
    assert.ok(difference(await blip.embedImage(image), at(all, i)) < 1e-6);
});

test('the sizes are the checkpoint’s', () => {
  assert.deepEqual([blip.vit, blip.imageSize, blip.embedDim, blip.precision], ['tiny', 96, 256, 'fp32']);
  assert.equal(blip.path, join(folder, 'rule_tiny.pth'));
  assert.equal(blip.device === 'cpu', testDevice === 'cpu');
});
