// `index` through the command line: made, brought up to date, refused, stopped.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyCheckpoint, tinyData } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const photos = join(folder, 'photos');
let checkpoint: string;
const run = (...args: string[]) => runCli(['index', ...args, '--device', testDevice], { OMP_NUM_THREADS: '1' }, folder);

before(async () => {
  cpSync(join(tinyData, 'images/test'), photos, { recursive: true });
  checkpoint = await tinyCheckpoint(folder);
});

test('makes an index beside the folder, then brings it up to date with the model that it was made with', async () => {
  const made = await run('photos', '--checkpoint', 'rule_tiny.pth');
  assert.equal(made.code, 0, made.stderr);
  const [, count] =
    /photos\.index: (\d+) images \(\1 added, 0 changed, 0 removed, 0 unchanged, 0 bad\)/.exec(made.stdout) ?? [];
  assert.ok(Number(count) > 2, made.stdout);
  assert.match(made.stdout, /^To search it:\n {2}npx blip-retrieval search photos\.index "a dog in snow"$/m);

  rmSync(join(photos, 'test_000000.jpg'));
  cpSync(join(photos, 'test_000001.jpg'), join(photos, 'new.jpg'));
  for (let i = 0; i < 22; i++) writeFileSync(join(photos, `bad${i}\u001b.jpg`), 'no image');
  const again = await run('photos', '--json');
  assert.equal(again.code, 0, again.stderr);
  const { bad, ...report } = JSON.parse(again.stdout);
  assert.equal(report.checkpoint, checkpoint);
  assert.deepEqual(
    [report.images, report.added, report.removed, report.unchanged],
    [Number(count), 1, 1, Number(count) - 1],
  );
  assert.equal(bad.length, 22);
  assert.match(again.stderr, /^22 images cannot be read and are left out:$/m);
  assert.match(again.stderr, /\n {2}and 2 more; --json lists them all\.\n$/);
  assert.ok(!again.stderr.includes('\u001b'));
  assert.equal((await run('photos', '--strict')).code, 1);
});

test('wrong input is told in a sentence', async () => {
  mkdirSync(join(folder, 'empty'));
  writeFileSync(join(folder, 'a-file'), '');
  const made = ['--checkpoint', checkpoint];
  const cases: [args: string[], code: number, said: RegExp][] = [
    [['nowhere'], 1, /^error: The folder \S+nowhere is not there .*Check the path\.\n$/],
    [['empty', ...made], 0, /^There is no image in \S+empty: the index is empty\. Check the folder and --include\.\n$/],
    [['photos', '-o', 'a-file', ...made], 1, /a-file cannot be made into an index: it is a file/],
    [['photos', '-o', 'x', '--store', 'postgres://h/d'], 2, /--output and --store both say/],
    [
      ['photos', '--include', '*.png', ...made],
      1,
      /is of something else \(all images, not \*\.png\)\. Give another --output\.\n$/,
    ],
  ];
  for (const [args, code, said] of cases) {
    const result = await run(...args);
    assert.match(result.stderr, said);
    assert.equal(result.code, code, args.join(' '));
  }
});
