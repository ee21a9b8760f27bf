// loadConfig: the reference's files as they are, every mistake in one error, and overrides.
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LoadConfigOptions } from '#blip/config/load.js';
import { UserError } from '#blip/errors.js';
import { loadConfig } from '#blip/model/architecture.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

const folder = temporaryFolder();

/** A config with the layout, key order and spelling of the reference's files. */
const published = `image_root: '/images/'
ann_root: 'annotation'
dataset: 'coco'

# set pretrained as a file path or an url
pretrained: 'https://example.org/model_base_retrieval_coco.pth'

vit: 'base'
batch_size_train: 32
batch_size_test: 64
vit_grad_ckpt: True
vit_ckpt_layer: 4
init_lr: 1e-5

image_size: 384
queue_size: 57600
alpha: 0.4
k_test: 256
negative_all_rank: True

# optimizer
weight_decay: 0.05
min_lr: 0
max_epoch: 6
`;

function write(text: string | Uint8Array): string {
  const path = join(folder, 'config.yaml');
  writeFileSync(path, text);
  return path;
}

function load(text: string | Uint8Array, overrides: string[] = [], options: LoadConfigOptions = {}) {
  return loadConfig(write(text), overrides, options);
}

function errorOf(run: () => unknown): UserError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof UserError, `not a UserError: ${String(error)}`);
    return error;
  }
  throw new assert.AssertionError({ message: 'no error was thrown' });
}

test("a file of the reference's form gives every setting, with numbers and booleans as such", () => {
  const config = load(published);
  assert.equal(config.imageRoot, '/images/');
  assert.equal(config.annRoot, 'annotation');
  assert.equal(config.dataset, 'coco');
  assert.equal(config.vit, 'base');
  assert.equal(config.imageSize, 384);
  assert.equal(config.batchSizeTest, 64);
  assert.equal(config.kTest, 256);
  assert.equal(config.queueSize, 57600);
  assert.deepEqual(config.training, {
    batchSizeTrain: 32,
    vitGradCkpt: true,
    vitCkptLayer: 4,
    initLr: 1e-5,
    alpha: 0.4,
    negativeAllRank: true,
    weightDecay: 0.05,
    minLr: 0,
    maxEpoch: 6,
  });
  assert.deepEqual(config.medConfig, {});
  assert.equal(config.featureMemory, undefined);
  assert.deepEqual(Object.keys(config.raw).length, 18);
  assert.equal(config.raw.init_lr, 1e-5);
});

test('every config of the project can train and evaluate', () => {
  const files = readdirSync(join(projectRoot, 'configs')).filter((name) => name.endsWith('.yaml'));
  assert.ok(files.length >= 5);
  for (const name of files)
    assert.ok(loadConfig(join(projectRoot, 'configs', name), [], { training: true }).training, name);
});

test('a byte order mark, CRLF and a missing final newline change nothing', () => {
  const plain = load(published);
  assert.deepEqual(load(`\ufeff${published}`), plain);
  assert.deepEqual(load(published.replaceAll('\n', '\r\n')), plain);
  assert.deepEqual(load(published.trimEnd()), plain);
});

test('numbers and booleans in the spellings that people use', () => {
  for (const [text, value] of [
    ['1e-5', 1e-5],
    ['1E-5', 1e-5],
    ['1.0e-05', 1e-5],
    ['.00001', 1e-5],
    ['+0.00001', 1e-5],
    ['5', 5],
  ] as const) {
    assert.equal(load(published.replace('init_lr: 1e-5', `init_lr: ${text}`)).training?.initLr, value, text);
  }
  for (const [text, value] of [
    ['True', true],
    ['true', true],
    ['FALSE', false],
    ['false', false],
  ] as const) {
    assert.equal(load(published.replace('vit_grad_ckpt: True', `vit_grad_ckpt: ${text}`)).training?.vitGradCkpt, value);
  }
});

test('all mistakes come in one error, with line and nearest key', () => {
  const text = published
    .replace('batch_size_test:', 'batch_size_tset:')
    .replace('k_test: 256', "k_test: 'many'")
    .replace('image_size: 384', 'image_size: 100')
    .replace("vit: 'base'", 'vit: huge')
    .replace('alpha: 0.4', 'alpha: 4')
    .replace('vit_grad_ckpt: True', 'vit_grad_ckpt: yes')
    .replace('init_lr: 1e-5', 'init_lr: .nan')
    .replace("ann_root: 'annotation'\n", '')
    .concat('qqqqqqqqqqqqqqqq: 1\n')
    .concat('max_epochs: 1\n');
  const { message, exitCode } = errorOf(() => load(text));
  assert.equal(exitCode, 1);
  for (const part of [
    '9 mistakes',
    'line 9: unknown key batch_size_tset; the nearest known key is batch_size_test',
    "line 17: expected a whole number of at least 1 for k_test but received the text 'many'",
    'line 14: expected a multiple of 16 up to 4096 for image_size but received the number 100',
    "line 7: expected 'base', 'large' or 'tiny' for vit but received the text 'huge'",
    'line 16: expected a number from 0 to 1 for alpha but received the number 4',
    "line 10: expected True or False for vit_grad_ckpt but received the text 'yes'",
    'line 12: expected a number of at least 0 for init_lr but received the number NaN',
    'missing: ann_root, the path of a folder',
    'unknown key max_epochs; the nearest known key is max_epoch',
  ]) {
    assert.ok(message.includes(part), `${part}\nis not in\n${message}`);
  }
});

test('a key that no known one is near is a note, and a mistake where that is asked for', () => {
  const text = `${published}num_workers: 4\nmed_config: {fusion_layer: 6}\n`;
  const config = load(text);
  assert.equal(config.notes.length, 1);
  assert.match(
    config.notes[0] ?? '',
    /: num_workers \(line 25\), med_config\.fusion_layer \(line 26\)\. They have no effect/,
  );
  assert.equal(config.raw.num_workers, 4);
  const { message } = errorOf(() => load(text, [], { strictConfig: true }));
  assert.match(
    message,
    /2 mistakes:\n {2}line 25: unknown key num_workers\n {2}line 26: unknown key med_config\.fusion_layer$/,
  );
  assert.match(
    load(`${published}num_workers: 4\n`).notes[0] ?? '',
    /has a key that .*num_workers \(line 25\)\. It has/,
  );
  assert.deepEqual(load(published).notes, []);
  assert.match(load(text, ['num_workers=0']).notes[0] ?? '', /num_workers \(--set num_workers=0\)/, 'the file has it');
  assert.equal(errorOf(() => load(published, ['num_workers=0'])).exitCode, 2, 'an override of nothing');
});

test('one mistake is one sentence', () => {
  const { message } = errorOf(() => load(published.replace('k_test: 256', 'k_test: 0')));
  assert.match(
    message,
    /^The config .*config\.yaml cannot be used: line 18: expected .* for k_test but received the number 0\.$/,
  );
});

test('training keys may be absent for evaluation and not for training', () => {
  const text = published.replace(/batch_size_train.*\n/, '').replace(/max_epoch.*\n/, '');
  assert.equal(load(text).training, undefined);
  const { message } = errorOf(() => load(text, [], { training: true }));
  assert.match(message, /2 mistakes/);
  assert.match(message, /missing: batch_size_train, a whole number of at least 1\n/);
  assert.match(message, /missing: max_epoch/);
  assert.match(errorOf(() => load(published.replace('max_epoch: 6', 'max_epoch: six'))).message, /max_epoch/);
});

test('a key without a value counts as left out', () => {
  assert.match(
    errorOf(() => load(published.replace('k_test: 256', 'k_test:'))).message,
    /line 18: there is no value for k_test, a whole number/,
  );
  assert.equal(load(`${published}sha256:\n`).sha256, undefined);
});

test('the optional keys', () => {
  const digest = 'AB'.repeat(32);
  const config = load(
    `${published}sha256: '${digest}'\nvocab: my/vocab.txt\nfeature_memory: 8GB\nmed_config:\n  num_hidden_layers: 6\n  hidden_dropout_prob: 0\n  hidden_act: gelu\n`,
  );
  assert.equal(config.sha256, digest.toLowerCase());
  assert.equal(config.vocab, 'my/vocab.txt');
  assert.equal(config.featureMemory, 8e9);
  assert.deepEqual(config.medConfig, { numHiddenLayers: 6, hiddenDropoutProb: 0 });
  for (const [text, bytes] of [
    ['auto', undefined],
    ['1000', 1000],
    ['1.5GiB', 1.5 * 2 ** 30],
    ["'512 MB'", 512e6],
  ] as const) {
    assert.equal(load(`${published}feature_memory: ${text}\n`).featureMemory, bytes, text);
  }
  for (const text of ['8 bananas', '-1', '1.5', '[]', 'GB']) {
    assert.match(errorOf(() => load(`${published}feature_memory: ${text}\n`)).message, /for feature_memory but/, text);
  }
  assert.match(errorOf(() => load(`${published}sha256: abc\n`)).message, /64 hexadecimal digits/);
});

test('med_config is checked field by field', () => {
  const { message } = errorOf(() =>
    load(
      `${published}med_config:\n  hiden_size: 64\n  hidden_act: relu\n  hidden_dropout_prob: 1\n  max_position_embeddings: 10\n  vocab_size: 30522\n`,
    ),
  );
  assert.match(
    message,
    /line 26: unknown key med_config\.hiden_size; the nearest known key is med_config\.hidden_size/,
  );
  assert.match(message, /line 27: expected 'gelu'/);
  assert.match(message, /line 28: .*from 0 to below 1/);
  assert.match(message, /line 30: expected a whole number of at least 30524 for med_config\.vocab_size/);
  assert.match(message, /line 29: .*at least 35/);
  assert.match(
    errorOf(() => load(`${published}med_config: 3\n`)).message,
    /expected a mapping .* received the number 3/,
  );
  const width = errorOf(() => load(`${published}med_config: {encoder_width: 1024}\n`)).message;
  assert.match(
    width,
    /line 25: expected 768, the width of vit base, for med_config\.encoder_width but received the number 1024/,
  );
});

test('--set overrides values, the last one wins, and its mistakes are wrong usage', () => {
  const config = load(published, [
    'k_test=8',
    'k_test=16',
    'vit=large',
    'med_config.hidden_dropout_prob=1e-1',
    'vit_grad_ckpt=False',
  ]);
  assert.equal(config.kTest, 16);
  assert.equal(config.vit, 'large');
  assert.deepEqual(config.medConfig, { hiddenDropoutProb: 0.1 });
  assert.equal(config.training?.vitGradCkpt, false);
  assert.deepEqual(config.raw.med_config, Object.assign(Object.create(null), { hidden_dropout_prob: 0.1 }));
  for (const [override, pattern] of [
    ['k_test', /--set k_test: expected key=value/],
    ['=5', /expected key=value/],
    ['k_test=', /--set k_test=: there is no value for k_test/],
    ['k_tset=5', /--set k_tset=5: unknown key k_tset; the nearest known key is k_test/],
    ['k_test=x', /--set k_test=x: expected a whole number/],
    ['alpha.beta=1', /unknown key alpha\.beta; only med_config/],
    ['med_config.foo=1', /--set med_config\.foo=1: unknown key med_config\.foo/],
    ['k_test=!!int 5', /YAML tag !!int in --set/],
    ['k_test=[', /is not valid YAML/],
    ['__proto__=1', /unknown key __proto__/],
    ['med_config.__proto__=1', /unknown key med_config\.__proto__/],
  ] as const) {
    const error = errorOf(() => load(published, [override]));
    assert.match(error.message, pattern);
    assert.equal(error.exitCode, /tag|valid YAML/.test(error.message) ? 1 : 2, override);
  }
});

test('hostile and broken files are refused with a sentence', () => {
  const bomb = `a: &a [x, x, x, x, x, x, x, x, x]\n${'bcdefghij'.replace(/./g, (c) => {
    const before = String.fromCharCode(c.charCodeAt(0) - 1);
    return `${c}: &${c} [${Array(9).fill(`*${before}`).join(', ')}]\n`;
  })}`;
  for (const [name, text, pattern] of [
    [
      'tag',
      `${published}sha256: !!python/object/apply:os.system [ls]\n`,
      /YAML tag !!python.*line 25, is not allowed\. Remove it/,
    ],
    ['standard tag', published.replace('max_epoch: 6', 'max_epoch: !!int 6'), /is not allowed/],
    ['alias bomb', bomb, /is not valid YAML.*alias/],
    ['recursive', `${published}x: &x [{a: *x}]\n`, /holds an alias of itself/],
    ['duplicate key', `${published}k_test: 5\n`, /line 25, column 1: duplicated mapping key k_test/],
    ['broken', `${published}queue: [1, 2\nb: 3`, /is not valid YAML, line 26/],
    ['tab', 'a:\n\t- b', /is not valid YAML, line 2/],
    ['deep', '['.repeat(5000), /is not valid YAML/],
    ['list', '- a\n- b\n', /received a list/],
    ['text', 'hello', /received the text 'hello'/],
    ['empty', '', /received nothing/],
    ['comment only', '# nothing\n', /received nothing/],
    ['two documents', `${published}---\na: 1\n`, /received 2/],
    ['large', `#${' '.repeat(2 ** 20)}`, /larger than 1 MiB/],
  ] as const) {
    assert.match(errorOf(() => load(text)).message, pattern, name);
  }
  assert.match(errorOf(() => load(Buffer.from(published, 'utf16le'))).message, /UTF-8|valid YAML/);
  assert.match(errorOf(() => load(Uint8Array.of(0x61, 0x3a, 0x20, 0xff, 0xfe))).message, /not UTF-8 text/);
  assert.match(
    errorOf(() => loadConfig(join(folder, 'absent.yaml'))).message,
    /absent\.yaml cannot be read: it does not exist/,
  );
  assert.match(errorOf(() => loadConfig(folder)).message, /it is a folder/);
});

test('a file with a hundred thousand unknown keys is refused soon and briefly', () => {
  const text = Array.from({ length: 100_000 }, (_, i) => `k${i}:`).join('\n');
  const { message } = errorOf(() => load(text));
  assert.ok(message.length < 10_000);
});

test('values from outside reach the terminal without control characters', () => {
  const { message } = errorOf(() => load(published.replace("'coco'", '"\\e[31m\\a"')));
  assert.ok(!/[^\P{Cc}\n]/u.test(message), JSON.stringify(message));
});
