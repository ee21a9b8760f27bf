// `bench all`: rows that can be measured here and reasons for the others, with a tiny model; its table and its section.
// Covers bench/all, all-rows, print-all, extrapolate.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AllReport, benchAll } from '#blip/bench/all.js';
import { type AllOptions, QUERY, type rowIds, rows } from '#blip/bench/all-rows.js';
import { COCO_PAIRS, extrapolateCoco } from '#blip/bench/extrapolate.js';
import { tokensOf } from '#blip/bench/own/work.js';
import { markdownOf, printAll, sectionName } from '#blip/bench/print-all.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

const options: AllOptions = {
  vit: 'tiny',
  image_size: 96,
  queue_size: 64,
  batch: 2,
  threads: 1,
  seed: 42,
  reference: undefined,
  python: 'python3',
  transformers_python: undefined,
  images: 4,
  texts: 8,
  k: 2,
  rounds: 1,
  train_batch: 2,
  steps: 1,
  vit_ckpt_layer: 1,
  seconds: 0.05,
};

test('the query has 15 tokens', () => {
  assert.deepEqual(
    tokensOf([QUERY]).map(({ length }) => length),
    [15],
  );
});

test('rows that lack something are skipped with the reason, the others measured', async () => {
  const report = await benchAll(options, ['coco', 'rerank', 'train', 'transformers', 'text-query', 'start']);
  assert.deepEqual(
    report.rows.map(({ id, skipped }) => [id, skipped ?? '']),
    [
      ['rerank', 'it needs --reference DIR and --python EXE'],
      ['train', 'it needs --reference DIR and --python EXE'],
      ['text-query', ''],
      ['start', ''],
      ['transformers', 'it needs --transformers_python EXE'],
      ['coco', ''],
    ],
  );
  const page = printAll(report);
  assert.match(page, /rerank: skipped, it needs --reference DIR/);
  assert.match(page, /text-query +text query of 15 tokens, half of them within +[\d.]+ ms +20 ms$/m);
  assert.match(page, /^start +first operator, a new process +[\d.]+ ms +1200 ms$/m);
  assert.match(page, /^start +opening a checkpoint of .*, checksums compared/m);
  assert.match(page, /COCO's test split, foretold, fp32 .* to [\d.e-]+ h/);
  assert.match(page, /Goals are for the published base size/, 'a tiny model reaches no goal');
});

test('a program that cannot run is a reason too, and the section does not name its folder', async () => {
  const broken = { ...options, reference: folder, python: `${folder}/python9` };
  const report = await benchAll(broken, ['rerank']);
  assert.match(report.rows[0]?.failed ?? '', /cannot be started: .*ENOENT/);
  assert.match(printAll(report), /rerank: skipped, .*python9/);
  const section = markdownOf(report, '');
  assert.match(section, /^\| rerank \| .* \| not measured \| .* it failed /m);
  assert.ok(!section.includes(folder), 'no folder of this machine');
});

const measured = (id: (typeof rowIds)[number], here: string, reached?: boolean) => ({
  id,
  findings: [{ work: rows[id].work, here, goal: '20 times', reached, note: 'a | b' }],
  load: 0.5,
});
const reportOf = (...rows: AllReport['rows']): AllReport => ({
  machine: {
    date: '2026-11-30',
    cpu: 'A (Zen 9)',
    vectors: 'AVX2',
    cores: 2,
    memory_bytes: 2 ** 34,
    load: 0.1,
    node: '24.1.0',
  },
  commit: 'abc1234',
  options: { ...options, vit: 'base', image_size: 384, threads: 2, reference: folder },
  published: true,
  rows,
  seconds: 60,
});

test('the section names processor, date, commit and command, and whether goals are reached', () => {
  const report = reportOf(measured('rerank', '21 times', true), measured('train', '1 times', false));
  assert.equal(sectionName(report.machine.cpu, report.options), 'A (Zen 9), 2 threads');
  assert.equal(sectionName('B', options), 'B, 1 thread, vit tiny, 96 px');
  const section = markdownOf(report, '');
  assert.match(section, /^### A \(Zen 9\), 2 threads$/m);
  assert.match(section, /2026-11-30, commit abc1234/);
  assert.match(section, /^`bench all --only rerank,train --reference BLIP --python PYTHON --threads 2 .*`$/m);
  assert.match(
    section,
    /^\| rerank \| .* \| 21 times \| 20 times \| yes \| a \\\| b \| 2026-11-30, abc1234, load 0\.5 \|$/m,
  );
  assert.match(section, /^\| train \| .* \| no \|/m);
  assert.ok(!section.includes(folder), 'no folder of this machine');
});

test('rows that are measured alone replace their own, a skipped one none', () => {
  const first = markdownOf(reportOf(measured('coco', '9 h'), measured('rerank', '20 times', true)), '');
  const next = markdownOf(
    reportOf(
      measured('rerank', '22 times', true),
      { id: 'coco', findings: [], skipped: 'no' },
      { id: 'train', findings: [], skipped: 'no reference' },
    ),
    first,
  );
  const lines = next.split('\n').filter((line) => /^\| (rerank|train|coco) /.test(line));
  assert.deepEqual(
    lines.map((line) => line.split(' | ').filter((_, i) => [0, 2].includes(i))),
    [
      ['| rerank', '22 times'],
      ['| train', 'not measured'],
      ['| coco', '9 h'],
    ],
  );
});

test('pairs of the whole split as the reference counts them, and fewer where directions share them', async () => {
  assert.equal(COCO_PAIRS, 7_682_560);
  const model = { ...options, device: 'cpu', precision: 'fp32' } as const;
  const { most, least, tokens } = await extrapolateCoco(model, folder, 'fp32', 0.05);
  assert.equal(most.pairs, COCO_PAIRS);
  assert.equal(least.pairs, 25_010 * 256);
  assert.ok(least.rerank < most.rerank && least.features === most.features && most.features > 0);
  assert.ok(tokens > 11 && tokens < 14, String(tokens));
});
