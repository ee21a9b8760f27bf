// `bench train-loader`: this program's side for real, the reference's played by a script that answers as it does.
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { printTrainLoader } from '#blip/bench/print.js';
import { benchTrainLoader } from '#blip/bench/small.js';
import { UserError } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

/** A program in Python's place. */
function python(name: string, script: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!${process.execPath}\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

const options = { reference: folder, rounds: 2, workers: 1, images: 2, image_size: 32, batch: 8 };

test('both programs take their turns and the report compares their times', async () => {
  // It is given: script, checkout, vocabulary; and one command on stdin.
  const answering = python(
    'python',
    `const [script, checkout, vocabulary] = process.argv.slice(2);
     const fs = require('node:fs');
     if (!script.endsWith('reference_runner.py') || !fs.existsSync(script) || !fs.existsSync(vocabulary)) process.exit(9);
     console.log(JSON.stringify({ ok: true, versions: { python: '3' }, threads: 1 }));
     require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
       const { op, folder, image_size, batch, workers } = JSON.parse(line);
       const rows = JSON.parse(fs.readFileSync(folder + '/coco_karpathy_train.json', 'utf8'));
       if (rows.length !== 128 || [op, image_size, batch, workers].join() !== 'epoch,32,8,1') process.exit(8);
       if (process.env.OMP_NUM_THREADS !== '1') process.exit(7);
       console.log(JSON.stringify({ ok: true, seconds: 64, cpu_seconds: 32, images: 32, versions: { torch: '2' } }));
     });`,
  );
  const report = await benchTrainLoader({ ...options, python: answering });
  assert.deepEqual(report.reference, { cpu: { min: 1000, median: 1000 }, elapsed: { min: 2000, median: 2000 } });
  assert.ok(report.own.cpu.min > 0 && report.own.cpu.min <= report.own.cpu.median);
  assert.equal(report.ratio.cpu, 1000 / report.own.cpu.min);
  assert.equal(report.ratio.elapsed, 2000 / report.own.elapsed.min);
  assert.equal(report.versions.torch, '2');
  assert.match(report.versions.LibTorch ?? '', /^2\./);
  assert.match(
    printTrainLoader(report),
    /128 rows, 2 alternating rounds[\s\S]*images a second and core, best .* 1\.00 /,
  );
});

const failing: [what: string, script: string, message: RegExp][] = [
  [
    'lacks a package',
    `console.log('{"ok": false, "error": "python lacks OpenCV"}')`,
    /BLIP .* failed: python lacks OpenCV$/,
  ],
  [
    'fails',
    `console.error('ModuleNotFoundError: data'); process.exit(1)`,
    /BLIP .* ended with code 1; .*\nModuleNotFoundError: data/,
  ],
];
for (const [what, script, message] of failing) {
  test(`a reference that ${what} is told in a sentence`, async () => {
    await assert.rejects(
      benchTrainLoader({ ...options, python: python(what.replaceAll(' ', '-'), script) }),
      (error) => error instanceof UserError && message.test(error.message),
    );
  });
}

test('an absent checkout and a batch that is never full are refused', async () => {
  const python = process.execPath;
  const absent = { ...options, python, reference: join(folder, 'none') };
  await assert.rejects(benchTrainLoader(absent), /none of --reference does not exist/);
  await assert.rejects(
    benchTrainLoader({ ...options, python, batch: 129 }),
    (error) => error instanceof UserError && error.exitCode === 2 && /cannot fill a batch of 129/.test(error.message),
  );
});
