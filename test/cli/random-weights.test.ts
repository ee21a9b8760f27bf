// A config without pretrained: evaluation and training from random weights, as the reference's `if config['pretrained']`.
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { flattenCheckpoint, openCheckpoint } from '#blip/torch/checkpoint/index.js';
import { readJson } from '../helpers/tensors.js';
import { TinyRuns } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ few: true });
before(async () => {
  await tiny.write();
  rmSync(tiny.path('rule_tiny.pth'));
});

/** Writes train.yaml with `line` in the place of its pretrained. */
function pretrained(line: string): void {
  const text = readFileSync(tiny.config, 'utf8').replace(/^(?:pretrained|pretraned).*\n/m, '');
  writeFileSync(tiny.config, `${text}${line}\n`);
}

test('evaluation says that the weights are random, and goes on', async () => {
  const [recalls, scores]: [unknown[], Buffer[]] = [[], []];
  for (const [name, line] of Object.entries({
    empty: "pretrained: ''",
    null: 'pretrained:',
    no: 'pretrained: False',
    none: '',
  })) {
    pretrained(line);
    const { code, stdout, stderr } = await tiny.run(name, '--evaluate', '--seed', '3', '--save_scores');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^The config has no pretrained: the weights are random, and the recalls those of chance\.$/m);
    recalls.push(readJson(tiny.path(name, 'evaluate.txt')));
    scores.push(tiny.read(name, 'scores_test.safetensors'));
  }
  for (const each of scores) assert.ok(scores[0]?.equals(each), 'one seed, one model');
  for (const recall of recalls) assert.deepEqual(recall, recalls[0], 'one seed, one model');
  pretrained("pretrained: ''");
  const several = await tiny.run('several', '--evaluate', '--seed', '3', '--nproc_per_node', '2');
  assert.equal(several.code, 0, several.stderr);
  assert.deepEqual(readJson(tiny.path('several', 'evaluate.txt')), recalls[0], 'on two ranks as on one');
});

test('training starts from random weights, and is resumed as ever', async () => {
  pretrained("pretrained: ''");
  const whole = await tiny.run('whole', '--max_steps', '4');
  assert.equal(whole.code, 0, whole.stderr);
  assert.match(whole.stdout, /^The config has no pretrained: training starts from random weights\.$/m);
  const short = await tiny.run('short', '--max_steps', '2');
  assert.equal(short.code, 0, short.stderr);
  const rest = await tiny.run('short', '--max_steps', '4', '--resume');
  assert.equal(rest.code, 0, rest.stderr);
  assert.doesNotMatch(rest.stdout, /random weights/);
  assert.match(rest.stdout, /^Resuming .*checkpoint_last\.pth in epoch 0 after step 2\.$/m);
  const [a, b] = ['whole', 'short'].map((name) => tiny.read(name, 'checkpoint_last.pth'));
  assert.ok(a !== undefined && b !== undefined && a.equals(b), 'stopped and resumed as never stopped');
  const { tensors } = flattenCheckpoint(openCheckpoint(tiny.path('whole', 'checkpoint_last.pth')));
  assert.ok(tensors.has('model/visual_encoder_m.pos_embed') && tensors.has('model/image_queue'));
});

test('a misspelled pretrained is no missing one', async () => {
  pretrained('pretraned: weights.pth');
  const { code, stderr } = await tiny.run('misspelled', '--evaluate');
  assert.equal(code, 1);
  assert.match(stderr, /unknown key pretraned; the nearest known key is pretrained/);
});

test('keys of other programs are a note and stay in config.yaml; --strict_config makes them errors', async () => {
  pretrained(
    "pretrained: ''\nnum_workers: 4\nbert_config: configs/bert.json\noptimizer: {opt: adamW, lr: 1e-4}\nbeam_size:",
  );
  const run = await tiny.run('keys', '--evaluate');
  assert.equal(run.code, 0, run.stderr);
  assert.match(
    run.stdout,
    /^The config .*train\.yaml has keys that this program does not know: num_workers \(line \d+\), bert_config .*optimizer .*beam_size \(line \d+\)\. They have no effect here; --strict_config makes that an error\.$/m,
  );
  const written = tiny.read('keys', 'config.yaml').toString();
  for (const line of [
    'num_workers: 4',
    'bert_config: configs/bert.json',
    'optimizer:\n  lr: 0.0001\n  opt: adamW',
    'beam_size: null',
  ])
    assert.ok(written.includes(`${line}\n`), `${line} is not in\n${written}`);
  const strict = await tiny.run('strict', '--evaluate', '--strict_config');
  assert.equal(strict.code, 1);
  assert.match(strict.stderr, /has 4 mistakes:\n {2}line \d+: unknown key num_workers/);
  const launched = await tiny.run('launched', '--strict_config', '--nproc_per_node', '2');
  assert.equal(launched.code, 1);
  assert.match(launched.stderr, /4 mistakes/);
  const noted = await tiny.run('noted', '--max_steps', '1', '--nproc_per_node', '2');
  assert.equal(noted.code, 0, noted.stderr);
  assert.equal(noted.stdout.match(/that this program does not know/g)?.length, 1, 'once, not once a rank');
});
