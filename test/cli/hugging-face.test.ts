// Weights of Hugging Face in and out: a folder, a file, names, sizes and config.json; export, and the way back. The goldens
// were computed by transformers itself.
// Covers model/foreign-names, model/checkpoint-entries, model/hugging-face-*, commands/export.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { loadRetrievalSplit } from '#blip/data/annotations.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { openCheckpoint, stateDictOf, type TensorRef, writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { readSafetensors, writeSafetensors } from '#blip/torch/safetensors.js';
import { fakeHub } from '../helpers/fake-hub.js';
import { temporaryFolder } from '../helpers/files.js';
import { absent, fixture, projectRoot } from '../helpers/fixtures.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { runCli } from '../helpers/run-cli.js';
import { readJson } from '../helpers/tensors.js';
import {
  evaluationValues,
  tinyArchitecture,
  tinyCheckpoint,
  tinyData,
  trainingValues,
  writeConfigFile,
} from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const golden = fixture('hugging_face') as string;
const { BLIP_PYTHON: python } = process.env;

/** Hugging Face's names as a table of its own, from a listing of transformers' state dict: the map is not taken from src. */
function nameInTransformers(name: string): string | undefined {
  if (/_m\.|queue|^temp$|position_ids$/.test(name)) return undefined;
  return name
    .replace(/^visual_encoder\.cls_token$/, 'vision_model.embeddings.class_embedding')
    .replace(/^visual_encoder\.pos_embed$/, 'vision_model.embeddings.position_embedding')
    .replace(/^visual_encoder\.patch_embed\.proj/, 'vision_model.embeddings.patch_embedding')
    .replace(/^visual_encoder\.norm\./, 'vision_model.post_layernorm.')
    .replace(/^visual_encoder\.blocks\.(\d+)\.norm(\d)/, 'vision_model.encoder.layers.$1.layer_norm$2')
    .replace(/^visual_encoder\.blocks\.(\d+)\.attn\.proj/, 'vision_model.encoder.layers.$1.self_attn.projection')
    .replace(/^visual_encoder\.blocks\.(\d+)\.attn\.qkv/, 'vision_model.encoder.layers.$1.self_attn.qkv')
    .replace(/^visual_encoder\.blocks\.(\d+)\.mlp/, 'vision_model.encoder.layers.$1.mlp');
}

/** rule_tiny's weights as transformers would save them. */
async function writeModel(path: string): Promise<void> {
  mkdirSync(path, { recursive: true });
  cpSync(join(golden, 'config.json'), join(path, 'config.json'));
  const state = ruleWeights(stateDictEntries(tinyArchitecture), { scale: 0.15 });
  const tensors = new Map(
    [...state].flatMap(([name, tensor]) => {
      const theirs = nameInTransformers(name);
      return theirs === undefined
        ? []
        : [[theirs, { dtype: tensor.dtype, shape: tensor.shape, data: tensor.bytes() }] as const];
    }),
  );
  await writeSafetensors(join(path, 'model.safetensors'), tensors, { format: 'pt' });
}

/** A config without vit, image_size and queue_size. */
function config(name: string, values: Record<string, string | number | boolean>): string {
  const { vit: _vit, image_size: _size, queue_size: _queue, ...rest } = values;
  return writeConfigFile(join(folder, `${name}.yaml`), rest);
}

async function evaluate(
  name: string,
  pretrained: string,
  values: Record<string, string | number | boolean> = {},
  env: NodeJS.ProcessEnv = {},
) {
  const path = config(name, { ...evaluationValues(pretrained), ...values });
  const flags = ['--evaluate', '--save_scores', '--device', 'cpu'];
  const run = await runCli(['--config', path, '--output_dir', join(folder, name), ...flags], env);
  assert.equal(run.code, 0, run.stderr);
  return run.stdout;
}

const REFUSED = -100; // what no re-ranked pair has

/** The largest difference of our scores, where re-ranked, from the sum of both scores of transformers. */
function largestDifference(output: string, theirs: string): number {
  const scores = readSafetensors(theirs);
  const numbers = (tensors: typeof scores, name: string) => {
    const bytes = tensors.get(name)?.data;
    assert.ok(bytes !== undefined, name);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  };
  let [most, compared] = [0, 0];
  for (const split of ['val', 'test']) {
    const [itm, itc] = [numbers(scores, `itm_${split}`), numbers(scores, `itc_${split}`)];
    const own = readSafetensors(join(folder, output, `scores_${split}.safetensors`));
    const [images = 0, texts = 0] = own.get('i2t')?.shape ?? [];
    const [i2t, t2i] = [numbers(own, 'i2t'), numbers(own, 't2i')];
    for (let i = 0; i < images; i++)
      for (let t = 0; t < texts; t++) {
        const expected = Number(itm[i * texts + t]) + Number(itc[i * texts + t]);
        for (const found of [Number(i2t[i * texts + t]), Number(t2i[t * images + i])]) {
          if (found === REFUSED) continue;
          compared += 1;
          most = Math.max(most, Math.abs(found - expected));
        }
      }
  }
  assert.ok(compared > 400, `${compared} scores compared`);
  return most;
}

before(() => writeModel(join(folder, 'model')));

test('a folder of transformers: sizes from its shapes, scores as transformers computes them', async () => {
  const said = await evaluate('folder', join(folder, 'model'));
  assert.match(said, /^The config leaves out vit tiny, image_size 96: as .*model\.safetensors needs it\.$/m);
  assert.match(said, /^Hugging Face names: 42 renamed$/m);
  assert.match(said, /130 loaded, 135 missing \(used in training only\), 0 unexpected, 0 of another shape$/m);
  assert.doesNotMatch(said, /config\.json says/);
  const off = largestDifference('folder', join(golden, 'scores.safetensors'));
  assert.ok(off < 1e-4, `${off}`);
  assert.match(readFileSync(join(folder, 'folder/config.yaml'), 'utf8'), /^image_size: 96$[\s\S]*^vit: tiny$/m);
});

test('the golden of transformers in shared: folder, file and pytorch_model.bin', async (t) => {
  const shared = fixture('../hf/model');
  const data = fixture('data');
  if (shared === undefined || data === undefined) return t.skip(absent('../hf/model'));
  const values = { image_root: join(data, 'images'), ann_root: join(data, 'annotation') };
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const tensors = readSafetensors(join(shared, 'model.safetensors'));
  await writeCheckpoint(
    join(bin, 'pytorch_model.bin'),
    new Map([...tensors].map(([name, { dtype, shape, data }]) => [name, { dtype, shape, data }])),
  );
  for (const [name, source] of [
    ['shared', shared],
    ['shared-file', join(shared, 'model.safetensors')],
    ['shared-bin', bin],
  ] as const) {
    await evaluate(name, source, values);
    const off = largestDifference(name, resolve(shared, '../scores.safetensors'));
    assert.ok(off < 1e-4, `${name}: ${off}`);
  }
});

test('a model of the hub, by name: fetched once, then from its cache without the network', async (t) => {
  const files = Object.fromEntries(
    ['model.safetensors', 'config.json'].map((name) => [name, readFileSync(join(folder, 'model', name))]),
  );
  const hub = await fakeHub(t, { 'someone/tiny-blip': { commit: 'c'.repeat(40), files } });
  const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, 'hf-home'), HF_TOKEN: '', HF_HUB_CACHE: '' };
  await evaluate('hub', 'hf:someone/tiny-blip', {}, env);
  const off = largestDifference('hub', join(golden, 'scores.safetensors'));
  assert.ok(off < 1e-4, `${off}`);
  const count = hub.requests.length;
  await evaluate('hub-again', 'hf:someone/tiny-blip', {}, { ...env, HF_HUB_OFFLINE: '1' });
  assert.equal(hub.requests.length, count);
  const scores = (output: string) => readFileSync(join(folder, output, 'scores_test.safetensors'));
  assert.deepEqual(scores('hub-again'), scores('hub'));
});

/** Every tensor's bytes by name. */
function bytesOf(path: string): Map<string, string> {
  const file = readFileSync(path);
  const bytes = ({ fileOffset, storageOffset, storageBytes }: TensorRef) =>
    file.subarray(fileOffset + storageOffset, fileOffset + storageBytes).toString('base64');
  return new Map([...stateDictOf(openCheckpoint(path))].map(([name, ref]) => [name, bytes(ref)]));
}

test('round trips are equal to the bit: Hugging Face to .pth and back, the reference to Hugging Face and back', async () => {
  const done = async (...args: string[]) => {
    const { code, stderr, stdout } = await runCli([
      'export',
      ...args.map((arg) => (arg.startsWith('-') || arg === 'pth' ? arg : join(folder, arg))),
    ]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  assert.match(
    await done('model', 'from-hf.pth', '--format', 'pth'),
    /^Hugging Face names: 42 renamed\n130 tensors written/,
  );
  await done('from-hf.pth', 'back');
  assert.deepEqual(
    sorted(bytesOf(join(folder, 'back/model.safetensors'))),
    sorted(bytesOf(join(folder, 'model/model.safetensors'))),
  );

  const reference = await tinyCheckpoint(folder);
  await done('rule_tiny.pth', 'hf');
  await done('hf', 'back.pth', '--format', 'pth');
  const all = bytesOf(reference);
  const back = bytesOf(join(folder, 'back.pth'));
  assert.deepEqual(
    [...back.keys()],
    [...all.keys()].filter((name) => nameInTransformers(name) !== undefined),
  );
  for (const [name, bytes] of back) assert.equal(bytes, all.get(name), name);
  // A file of the reference's form keeps what training needs.
  await done('rule_tiny.pth', 'whole.pth', '--format', 'pth');
  assert.deepEqual(bytesOf(join(folder, 'whole.pth')), all);
});

const sorted = (map: ReadonlyMap<string, string>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

test('an exported folder: config.json as trained, tokenizer, card; float16 on request', async () => {
  await tinyCheckpoint(folder);
  const out = join(folder, 'half');
  const { code, stderr } = await runCli(['export', join(folder, 'rule_tiny.pth'), out, '--half']);
  assert.equal(code, 0, stderr);
  const written = readJson<{
    dtype: string;
    text_config: Record<string, unknown>;
    vision_config: Record<string, unknown>;
  }>(join(out, 'config.json'));
  assert.equal(written.dtype, 'float16');
  assert.equal(written.vision_config.layer_norm_eps, 1e-6);
  assert.equal(written.text_config.num_attention_heads, 4);
  // Transformers 5 refuses an integer in the place of a float.
  assert.match(readFileSync(join(out, 'config.json'), 'utf8'), /"initializer_factor": 1\.0,/);
  assert.equal(readFileSync(join(out, 'vocab.txt'), 'utf8').split('\n')[30523], '[ENC]');
  const half = [...stateDictOf(openCheckpoint(join(out, 'model.safetensors'))).values()];
  assert.ok(half.every(({ dtype }) => dtype === 'float16'));
  // The exported vocabulary, of 30,524 lines, can be named in a config.
  await evaluate('half-evaluated', out, { vocab: join(out, 'vocab.txt') });
  const off = largestDifference('half-evaluated', join(golden, 'scores.safetensors'));
  assert.ok(off < 0.05, `float16 moves a score by ${off}`);
});

test('config.json of another model is said, with the reason', async () => {
  const path = join(folder, 'other');
  cpSync(join(folder, 'model'), path, { recursive: true });
  const other = readJson<{ text_config: Record<string, unknown>; vision_config: Record<string, unknown> }>(
    join(path, 'config.json'),
  );
  other.text_config.num_attention_heads = 8;
  other.vision_config.layer_norm_eps = 1e-5;
  writeFileSync(join(path, 'config.json'), JSON.stringify(other));
  const said = await evaluate('other-config', path);
  assert.match(
    said,
    /config\.json says text_config\.num_attention_heads 8; 4 is used: it is that of med_config, or of the training of BLIP\./,
  );
  assert.match(said, /config\.json says vision_config\.layer_norm_eps 0\.00001; 0\.000001 is used/);
  assert.equal(
    readFileSync(join(folder, 'other-config/evaluate.txt'), 'utf8'),
    readFileSync(join(folder, 'folder/evaluate.txt'), 'utf8'),
  );
});

test("LAVIS' name of the pointer, and a model of another task", async () => {
  const state = ruleWeights(stateDictEntries(tinyArchitecture), { scale: 0.15 });
  const entries = [...state].map(
    ([name, tensor]) =>
      [
        name === 'ptr_queue' ? 'queue_ptr' : name,
        { dtype: tensor.dtype, shape: tensor.shape, data: tensor.bytes() },
      ] as const,
  );
  const lavis = join(folder, 'lavis.pth');
  await writeCheckpoint(lavis, { model: new Map(entries), epoch: 5 });
  const said = await evaluate('lavis', lavis);
  assert.match(said, /^LAVIS names: 1 renamed$/m);
  assert.match(said, /265 loaded, 0 missing, 0 unexpected/);

  const captioning = join(folder, 'captioning.pth');
  await writeCheckpoint(
    captioning,
    new Map(entries.map(([name, tensor]) => [name.replace(/^text_encoder\./, 'text_decoder.bert.'), tensor])),
  );
  const path = config('captioning', evaluationValues(captioning));
  const { code, stderr } = await runCli([
    '--config',
    path,
    '--output_dir',
    join(folder, 'captioning'),
    '--evaluate',
    '--device',
    'cpu',
  ]);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /captioning\.pth is a captioning or question answering model: \d+ of the weights of retrieval are not in it .*hf:Salesforce/,
  );
});

test('training begins from a file without queues: what is made is said, and the length of the queues', async () => {
  const path = config('train', { ...trainingValues(join(folder, 'model')), max_epoch: 1 });
  const run = await runCli([
    '--config',
    path,
    '--output_dir',
    join(folder, 'train'),
    '--device',
    'cpu',
    '--max_steps',
    '2',
  ]);
  assert.equal(run.code, 0, run.stderr);
  assert.match(run.stdout, /vit tiny, image_size 96, queue_size 57600: as .* needs it; it has no queues\.$/m);
  assert.match(
    run.stdout,
    /^made for training: temp 0\.07, queues drawn at random, momentum copies equal to the online weights$/m,
  );
  // A file with queues tells their length, and makes nothing.
  const whole = config('train-pth', { ...trainingValues(await tinyCheckpoint(folder)), max_epoch: 1 });
  const told = await runCli([
    '--config',
    whole,
    '--output_dir',
    join(folder, 'train-pth'),
    '--device',
    'cpu',
    '--max_steps',
    '1',
  ]);
  assert.match(told.stdout, /vit tiny, image_size 96, queue_size 64: as .*rule_tiny\.pth needs it\.$/m);
  assert.doesNotMatch(told.stdout, /made for training/);
});

test('without a checkpoint the sizes are demanded; a file of unknown size is named', async () => {
  const none = config('none', { ...evaluationValues(''), k_test: 4 });
  const run = await runCli(['--config', none, '--output_dir', join(folder, 'none'), '--evaluate']);
  assert.equal(run.code, 1);
  assert.match(run.stderr, /missing: vit, 'base', 'large' or 'tiny'\n.*missing: image_size/);
  const odd = join(folder, 'odd.pth');
  await writeCheckpoint(odd, {
    model: new Map([
      ['visual_encoder.pos_embed', { dtype: 'float32', shape: [1, 37, 80], data: new Uint8Array(37 * 80 * 4) }],
    ]),
  });
  const other = await runCli([
    '--config',
    config('odd', evaluationValues(odd)),
    '--output_dir',
    join(folder, 'odd'),
    '--evaluate',
  ]);
  assert.equal(other.code, 1);
  assert.match(other.stderr, /odd\.pth has a vision encoder of width 80 and 0 blocks, which is no known vit\. Set vit/);
});

test('from Hugging Face through training here back to transformers: the same scores', async (t) => {
  const transformers =
    python === undefined
      ? undefined
      : await promisify(execFile)(python, ['-c', 'import transformers']).catch(() => undefined);
  if (python === undefined || transformers === undefined)
    return t.skip('set BLIP_PYTHON to a Python with transformers');
  const path = config('road', { ...trainingValues(join(folder, 'model')), max_epoch: 1, init_lr: 1e-3 });
  const run = await runCli([
    '--config',
    path,
    '--output_dir',
    join(folder, 'road'),
    '--device',
    'cpu',
    '--max_steps',
    '6',
    '--set',
    'queue_size=64',
  ]);
  assert.equal(run.code, 0, run.stderr);
  const trained = join(folder, 'road/checkpoint_last.pth');
  const exported = await runCli(['export', trained, join(folder, 'road/hf')]);
  assert.equal(exported.code, 0, exported.stderr);
  const inputs = Object.fromEntries(
    await Promise.all(
      (['val', 'test'] as const).map(async (split) => {
        const { images, texts } = await loadRetrievalSplit({
          split,
          dataset: 'coco',
          annRoot: join(tinyData, 'annotation'),
          imageRoot: join(tinyData, 'images'),
        });
        return [split, { images, texts }];
      }),
    ),
  );
  writeFileSync(join(folder, 'inputs.json'), JSON.stringify(inputs));
  const script = join(projectRoot, 'test/golden/hugging_face/transformers_scores.py');
  const theirs = join(folder, 'theirs.safetensors');
  await promisify(execFile)(python, [script, join(folder, 'road/hf'), join(folder, 'inputs.json'), theirs]);
  await evaluate('road-evaluated', trained);
  const off = largestDifference('road-evaluated', theirs);
  assert.ok(off < 1e-4, `${off}`);
  // The comparison would mean nothing if training had changed no score.
  assert.ok(largestDifference('road-evaluated', join(golden, 'scores.safetensors')) > 1e-2);
});
