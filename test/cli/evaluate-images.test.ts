// Images that are missing or damaged, met by an evaluation: found before work where that can be, few of them grey where that
// is asked for, and the recalls of val kept. Covers data/bad-images, data/require-images, commands/evaluate.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { mostBadImages } from '#blip/data/bad-images.js';
import { readJson } from '../helpers/tensors.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ few: true });
before(() => tiny.write());

const evaluate = (output: string, ...more: string[]) => tiny.run(output, '--evaluate', ...more);

/** A copy of the images, changed. */
function images(name: string, change: (folder: string) => void): string {
  const path = tiny.path(name);
  cpSync(join(tinyData, 'images'), path, { recursive: true });
  change(path);
  return `image_root=${path}`;
}

/** A copy of the annotations in which images of a split have other names. */
function renamed(name: string, split: 'val' | 'test', to: (image: string, row: number) => string): string {
  const path = tiny.path(name);
  cpSync(tiny.annRoot, path, { recursive: true });
  const file = join(path, `coco_karpathy_${split}.json`);
  const rows = readJson<{ image: string }[]>(file);
  writeFileSync(file, JSON.stringify(rows.map((row, i) => ({ ...row, image: to(row.image, i) }))));
  return `ann_root=${path}`;
}

for (const flags of [[], ['--skip_bad_images']])
  test(`a wrong image_root ends before the work${flags.map((flag) => `, ${flag} or not`)}`, async () => {
    const nothing = tiny.path(`nothing${flags.length}`);
    mkdirSync(nothing);
    const { code, stdout, stderr } = await evaluate('wrong', '--set', `image_root=${nothing}`, ...flags);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: 5 of the 5 images of the val split do not exist; the first is \S+\. Then \S+, \S+\. 5 of the 5 images of the test split do not exist; .* Correct image_root, the folder/,
    );
    assert.doesNotMatch(stderr, /--skip_bad_images/);
    assert.doesNotMatch(stdout, /Creating model/);
    assert.ok(!existsSync(tiny.path('wrong', 'evaluate.txt')));
  });

test('one absent image of test is found before val is evaluated, and may be grey', async () => {
  const path = renamed('one', 'test', (image, row) => (row === 4 ? 'absent.jpg' : image));
  const strict = await evaluate('strict', '--set', path);
  assert.equal(strict.code, 1);
  assert.match(
    strict.stderr,
    /^error: 1 of the 5 images of the test split do not exist; the first is .*absent\.jpg\. .* or set --skip_bad_images/,
  );
  assert.doesNotMatch(strict.stdout, /Computing features/);
  const lenient = await evaluate('lenient', '--set', path, '--skip_bad_images');
  assert.equal(lenient.code, 0, lenient.stderr);
  assert.match(lenient.stdout, /^1 of 5 images of test could not be read and counts as grey\. .*absent\.jpg\.$/m);
});

test('more than a few absent images are refused, and grey ones not advised', async () => {
  const path = renamed('some', 'test', (image, row) => (row % 2 === 0 ? `absent_${row}.jpg` : image));
  const strict = await evaluate('some_strict', '--set', path);
  assert.match(
    strict.stderr,
    /^error: 3 of the 5 images of the test split do not exist; .* Correct image_root or the annotation\.$/m,
  );
  const lenient = await evaluate('some_lenient', '--set', path, '--skip_bad_images');
  assert.equal(lenient.code, 1);
  assert.match(lenient.stderr, /^error: 3 of the 5 images .* --skip_bad_images allows at most 1\.$/m);
});

test('images that are there and cannot be decoded end the run once they are too many', async () => {
  const path = images('undecodable', (folder) => {
    for (const name of readdirSync(join(folder, 'val'))) writeFileSync(join(folder, 'val', name), '<html>404</html>');
  });
  const strict = await evaluate('bad_strict', '--set', path);
  assert.match(strict.stderr, /^error: The image \S+ is an HTML page, which cannot be read here/);
  assert.doesNotMatch(strict.stderr, /--skip_bad_images/);
  const lenient = await evaluate('bad_lenient', '--set', path, '--skip_bad_images');
  assert.equal(lenient.code, 1);
  assert.match(
    lenient.stderr,
    /^error: More than 1 of the 5 images of the val split cannot be read: .*is an HTML page/,
  );
  assert.doesNotMatch(lenient.stdout, /Evaluation:/);
});

test('the recalls of val are printed and kept as soon as they are there', async () => {
  const [row] = readJson<{ image: string }[]>(join(tinyData, 'annotation/coco_karpathy_test.json'));
  const path = images('damaged', (folder) => truncateSync(join(folder, row?.image ?? ''), 500));
  const { code, stdout, stderr } = await evaluate('kept', '--set', path, '--save_scores');
  assert.equal(code, 1);
  const file = tiny.path('kept', 'evaluate_val.json');
  assert.match(
    stderr,
    /^error: The image .* is truncated or damaged .* The recalls of val are in .*evaluate_val\.json\.$/m,
  );
  assert.match(stdout, /^{'txt_r1': .*}$/m);
  assert.ok(existsSync(tiny.path('kept', 'scores_val.safetensors')));
  assert.ok(!existsSync(tiny.path('kept', 'evaluate.txt')));

  const kept = readFileSync(file, 'utf8');
  const whole = await evaluate('kept');
  assert.equal(whole.code, 0, whole.stderr);
  const line = tiny.read('kept', 'evaluate.txt').toString();
  assert.ok(line.startsWith(kept.trimEnd().slice(0, -1)), `${line} after ${kept}`);
  assert.ok(!existsSync(file), 'evaluate.txt has it now');
  assert.match(
    whole.stdout,
    /^Computing features[\s\S]*^{'txt_r1'.*}$[\s\S]*^Computing features[\s\S]*^{'txt_r1'.*}$/m,
  );
});

test('1 % of the images may be bad, at least one, and never all', () => {
  const most = [0, 1, 2, 24, 199, 200, 5000, 113_287].map(mostBadImages);
  assert.deepEqual(most, [0, 0, 1, 1, 1, 2, 50, 1132]);
});
