// `evaluate` and `train`, short names of configs, what a program says to one who knows nothing yet, misspelled names.
// Covers commands/retrieval-commands, config/find.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { findConfig } from '#blip/config/find.js';
import { Retriever } from '#blip/index.js';
import { testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import {
  evaluationValues,
  fewEvaluated,
  tinyCheckpoint,
  trainingValues,
  writeConfigFile,
} from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const empty = join(folder, 'empty');
const packaged = (name: string) => join(projectRoot, 'configs', `${name}.yaml`);
let checkpoint: string;
before(async () => {
  mkdirSync(empty);
  checkpoint = await tinyCheckpoint(folder);
});

test('evaluate is --evaluate: the same results, alone, in ranks, and with flags before its name', async () => {
  const config = writeConfigFile(join(folder, 'e.yaml'), {
    ...evaluationValues(checkpoint),
    ann_root: fewEvaluated(folder),
  });
  const run = async (name: string, args: readonly string[]) => {
    const { code, stderr } = await runCli([...args, '--config', config, '--output_dir', join(folder, name)]);
    assert.equal(code, 0, stderr);
    return readFile(join(folder, name, 'evaluate.txt'), 'utf8');
  };
  const device = ['--device', testDevice];
  const expected = await run('root', ['--evaluate', ...device]);
  assert.equal(await run('named', ['evaluate', ...device]), expected);
  assert.equal(await run('both', ['--local_rank=0', ...device, 'evaluate', '--evaluate']), expected);
  assert.equal(await run('ranks', ['evaluate', '--nproc-per-node', '2', '--device', 'cpu']), expected);
});

test('train is the main command without --evaluate, which it refuses', async () => {
  const config = writeConfigFile(join(folder, 't.yaml'), trainingValues(checkpoint));
  const output = join(folder, 'trained');
  const args = ['--config', config, '--output_dir', output, '--max_steps', '1', '--device', testDevice];
  const { code, stderr } = await runCli(['train', ...args]);
  assert.equal(code, 0, stderr);
  const refused = await runCli(['train', '--evaluate', ...args]);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /^error: --evaluate contradicts train\. Leave one of the two out/);
});

test('help of each lists its flags, in 80 columns', async () => {
  const [evaluate, train, main] = await Promise.all(
    [['evaluate', '--help'], ['train', '--help'], ['--help']].map((args) => runCli(args)),
  );
  assert.ok(evaluate !== undefined && train !== undefined && main !== undefined);
  assert.doesNotMatch(evaluate.stdout, /--evaluate <|--resume|--max_steps/);
  assert.match(evaluate.stdout, /--nproc_per_node/);
  assert.match(train.stdout, /--resume/);
  for (const { stdout } of [evaluate, train, main])
    for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
});

test('a short name is the packaged config, unless a file has that name', async () => {
  assert.equal(findConfig('retrieval_coco'), packaged('retrieval_coco'));
  assert.equal(findConfig('retrieval_coco.yaml'), packaged('retrieval_coco'));
  assert.equal(findConfig('./retrieval_coco'), './retrieval_coco');
  const set = ['--set', 'k_tset=1'];
  const { stderr } = await runCli(['evaluate', '--config', 'retrieval_coco', ...set], {}, empty);
  assert.ok(
    stderr.startsWith(`error: The config ${packaged('retrieval_coco')} cannot be used: --set k_tset=1`),
    stderr,
  );
  const own = join(folder, 'own');
  mkdirSync(own);
  writeFileSync(join(own, 'retrieval_coco'), 'k_test: many\n');
  const mine = await runCli(['evaluate', '--config', 'retrieval_coco'], {}, own);
  assert.match(mine.stderr, /^error: The config retrieval_coco has \d+ mistakes/);
  const near = await runCli(['--evaluate', '--config', 'retrieval_cocoo'], {}, empty);
  assert.match(near.stderr, /it does not exist\. Check the path, or pass --config retrieval_coco, which comes with/);
});

test('without arguments and without the default config, help is printed; in a rank, the config is missed', async () => {
  const { code, stdout, stderr } = await runCli([], {}, empty);
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /^Usage: blip-retrieval/);
  assert.equal((await runCli([], { RANK: '0', WORLD_SIZE: '1' }, empty)).code, 1);
  assert.match((await runCli(['--evaluate'], {}, empty)).stderr, /cannot be read: it does not exist/);
});

test('a misspelled name of a model gets the nearest one', async () => {
  const hint = /The checkpoint coco-bsae does not exist\. Did you mean coco-base\?/;
  assert.match((await runCli(['fetch', 'coco-bsae'])).stderr, hint);
  await assert.rejects(Retriever.open('coco-bsae'), { name: 'UserError', message: hint });
});

test('hf: in a wrong form is a mistake of the config', async () => {
  for (const name of ['hf:', 'hf:coco', 'hf:a/b/c']) {
    const args = ['evaluate', '--config', 'retrieval_coco', '--set', `pretrained=${name}`];
    const { code, stderr } = await runCli(args);
    assert.equal(code, 2);
    assert.match(stderr, /expected the path, http\(s\) URL, hf:OWNER\/NAME or short name of a checkpoint/);
  }
});

test('half of the variables of a rank is worth a line', async () => {
  const config = writeConfigFile(join(folder, 'h.yaml'), evaluationValues(join(folder, 'absent.pth')));
  const args = ['evaluate', '--config', config, '--output_dir', join(folder, 'half')];
  assert.match(
    (await runCli(args, { WORLD_SIZE: '2' })).stdout,
    /WORLD_SIZE is 2 but RANK is not set: .* one process\./,
  );
  assert.match((await runCli(args, { RANK: '1' })).stdout, /RANK is 1 but WORLD_SIZE is not set/);
});
