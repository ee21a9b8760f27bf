// What `export` says and writes around the weights: the card's recalls and names, files that were there, weights that are
// missing. The weights themselves: hugging-face.test.ts.
// Covers commands/export.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { type WritableValue, writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { temporaryFolder } from '../helpers/files.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyArchitecture } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const path = (...names: string[]) => join(folder, ...names);

/** rule_tiny's weights but for `without`, with `more` beside them. */
async function write(name: string, more: Record<string, WritableValue> = {}, without?: string): Promise<string> {
  const state = ruleWeights(stateDictEntries(tinyArchitecture), { scale: 0.15 });
  const tensors = [...state]
    .filter(([entry]) => entry !== without)
    .map(([entry, tensor]) => [entry, { dtype: tensor.dtype, shape: tensor.shape, data: tensor.bytes() }] as const);
  await writeCheckpoint(path(name), { model: new Map(tensors), ...more });
  return path(name);
}

async function exported(source: string, to: string): Promise<{ said: string; card: string }> {
  const { code, stdout, stderr } = await runCli(['export', source, path(to)]);
  assert.equal(code, 0, stderr);
  return { said: stdout, card: readFileSync(path(to, 'README.md'), 'utf8') };
}

function logLine(epoch: number, best: number, recall: number): string {
  const names = ['txt_r1', 'txt_r5', 'txt_r10', 'txt_r_mean', 'img_r1', 'img_r5', 'img_r10', 'img_r_mean', 'r_mean'];
  const test = Object.fromEntries(names.map((name, i) => [`test_${name}`, recall + i]));
  return `${JSON.stringify({ epoch, best_epoch: best, val_r_mean: recall, ...test })}\n`;
}

before(() => mkdirSync(path('run')));

test("the card has the recalls of the checkpoint's own epoch, or none", async () => {
  writeFileSync(path('run/log.txt'), logLine(0, 0, 10) + logLine(1, 1, 20) + logLine(2, 1, 30));
  const best = await exported(await write('run/checkpoint_best.pth', { epoch: 1 }), 'best');
  assert.match(best.card, /^\| text retrieval \| 20\.0 \| 21\.0 \| 22\.0 \|\n\| image retrieval \| 24\.0 /m);
  for (const [name, more] of [
    ['checkpoint_last.pth', { epoch: 1, resume: { step: 3 } }], // in the middle of an epoch
    ['of-another-epoch.pth', { epoch: 2 }],
    ['of-another-program.pth', {}],
  ] as const) {
    const { card } = await exported(await write(`run/${name}`, more), name.replace('.pth', ''));
    assert.doesNotMatch(card, /Recalls|R@1/, name);
  }
});

test('the card names the file without the folders of this machine', async () => {
  const { card } = await exported(await write('some name.pth'), 'named');
  assert.match(card, /^Exported by blip-retrieval from `some name\.pth`: vision transformer/m);
  assert.ok(!card.includes(folder));
});

test("somebody's own README.md stays; one of an earlier export is replaced", async () => {
  const source = await write('a.pth');
  mkdirSync(path('mine'));
  writeFileSync(path('mine/README.md'), 'My project\n');
  const { said, card } = await exported(source, 'mine');
  assert.equal(card, 'My project\n');
  assert.match(said, /with config and tokenizer\.\n.*mine\/README\.md is somebody's own, and stays as it is\.$/m);
  await exported(source, 'twice');
  cpSync(source, path('b.pth'));
  assert.match((await exported(path('b.pth'), 'twice')).card, /from `b\.pth`/);
});

test('a folder is exported into itself', async () => {
  await exported(await write('a.pth'), 'self');
  const weights = readFileSync(path('self/model.safetensors'));
  const { said } = await exported(path('self'), 'self');
  assert.match(said, /^Hugging Face names: 42 renamed$/m);
  assert.ok(readFileSync(path('self/model.safetensors')).equals(weights));
});

test("a snapshot of Hugging Face's cache is no destination: its files are links to contents that others share", async () => {
  const source = await write('a.pth');
  const snapshot = path('hub/models--some--body/snapshots/0123');
  const blob = path('hub/models--some--body/blobs/abc');
  for (const made of [snapshot, path('hub/models--some--body/blobs')]) mkdirSync(made, { recursive: true });
  writeFileSync(blob, 'shared');
  symlinkSync('../../blobs/abc', join(snapshot, 'model.safetensors'));
  symlinkSync(snapshot, path('linked'));
  for (const [to, ...more] of [[snapshot], [path('linked')], [join(snapshot, 'new.pth'), '--format', 'pth']] as const) {
    const { code, stderr } = await runCli(['export', source, to, ...more]);
    assert.equal(code, 1);
    assert.match(stderr, /is in Hugging Face's cache, whose files are shared .* Name another folder\./);
  }
  assert.equal(readFileSync(blob, 'utf8'), 'shared');
  assert.deepEqual(readdirSync(snapshot), ['model.safetensors']);
});

test('weights that are missing: which, with a remedy that export has, and nothing is written', async () => {
  const { code, stderr } = await runCli(['export', await write('no-head.pth', {}, 'itm_head.bias'), path('none')]);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /no-head\.pth is no whole model of retrieval: 1 weight is missing or of another shape \(itm_head\.bias\)\. Name a checkpoint that has them, or with --config /,
  );
  assert.ok(!existsSync(path('none')));
});

test("what config.json says otherwise is said at export, too; LAVIS' second pointer is nobody's name", async () => {
  await exported(await write('a.pth'), 'eight');
  const config = readFileSync(path('eight/config.json'), 'utf8');
  writeFileSync(path('eight/config.json'), config.replace('"num_attention_heads": 4', '"num_attention_heads": 8'));
  assert.match((await exported(path('eight'), 'four')).said, /says text_config\.num_attention_heads 8; 4 is used/);

  const state = ruleWeights(stateDictEntries(tinyArchitecture), { scale: 0.15 });
  const tensors = [...state].map(
    ([name, tensor]) => [name, { dtype: tensor.dtype, shape: tensor.shape, data: tensor.bytes() }] as const,
  );
  const pointer = { dtype: 'int64', shape: [1], data: new Uint8Array(8) } as const;
  await writeCheckpoint(path('both.pth'), { model: new Map([...tensors, ['queue_ptr', pointer]]) });
  assert.doesNotMatch((await exported(path('both.pth'), 'both')).said, /renamed/);
});
