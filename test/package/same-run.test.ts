// scripts/same-run.mjs --compare: one flipped bit of a tensor is a difference, another path in the config is none.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

const folder = temporaryFolder();

interface Output {
  log?: string;
  weight?: readonly number[];
  config?: string;
  epoch?: number;
}

/** An output folder with a log and a checkpoint of one tensor. */
async function output(name: string, { log = 'a\nb\n', weight = [1, 2], config = '/data', epoch = 3 }: Output) {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, 'log.txt'), log);
  const data = new Uint8Array(Float32Array.from(weight).buffer);
  const model = new Map([['weight', { dtype: 'float32' as const, shape: [2], data }]]);
  await writeCheckpoint(join(path, 'checkpoint_best.pth'), { model, config: { root: config }, epoch });
  return path;
}

function compare(mine: string, other: string): { status: number | null; lines: string[] } {
  const args = [join(projectRoot, 'scripts/same-run.mjs'), '--compare', mine, other];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(stderr, '');
  return { status, lines: stdout.trim().split('\n') };
}

test('outputs that differ in a path of the config only are the same', async () => {
  const [mine, other] = [await output('a', {}), await output('b', { config: '/elsewhere' })];
  assert.deepEqual(compare(mine, other), {
    status: 0,
    lines: [`same      ${mine}/log.txt`, `same      ${mine}/checkpoint_best.pth (1 tensors)`],
  });
});

test('a line, the last bit of a weight, an epoch and an absent file are differences', async () => {
  const mine = await output('mine', {});
  const differs = (other: string) => {
    const { status, lines } = compare(mine, other);
    assert.equal(status, 1);
    return lines.filter((line) => line.startsWith('DIFFERENT')).map((line) => line.slice(10 + mine.length + 1));
  };
  const line = await output('line', { log: 'a\nc\n' });
  assert.deepEqual(differs(line), ['log.txt: 4 and 4 bytes, line 2 is the first that differs']);
  const bit = await output('bit', { weight: [1, 2 + 2 ** -22] });
  assert.deepEqual(differs(bit), ['checkpoint_best.pth: 1 of 3 entries differ: model/weight']);
  const epoch = await output('epoch', { epoch: 4 });
  assert.deepEqual(differs(epoch), ['checkpoint_best.pth: 1 of 3 entries differ: epoch']);
  const more = await output('more', {});
  writeFileSync(join(more, 'metrics.jsonl'), '{}\n');
  assert.deepEqual(differs(more), [`metrics.jsonl: only in ${more}`]);
});
