// The check-data command as a user runs it: exit codes, one line a defect, the summary, the progress bar.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkData } from '#blip/commands/check-data.js';
import { flatPng, temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';

const folder = temporaryFolder();

const golden = join(projectRoot, 'test/golden/rule_tiny/data');

function writeConfig(name: string, imageRoot: string, annRoot: string): string {
  const path = join(folder, name);
  writeFileSync(
    path,
    `image_root: '${imageRoot}'\nann_root: '${annRoot}'\ndataset: coco\npretrained: none.pth\nvit: tiny\nbatch_size_test: 4\nimage_size: 96\nk_test: 8\n`,
  );
  return path;
}

test('a sound data set has no defect and exit code 0', async () => {
  const config = writeConfig('sound.yaml', join(golden, 'images'), join(golden, 'annotation'));
  const { code, stdout, stderr } = await runCli(['check-data', '--config', config]);
  assert.equal(stderr, '');
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^coco: 3 files, \d+ valid rows, \d+ captions, \d+ images: no defect\n$/);
});

test('keys of other programs are a note, and with --strict_config an error; a likely misspelling is one in any case', async () => {
  const config = writeConfig('forked.yaml', join(golden, 'images'), join(golden, 'annotation'));
  writeFileSync(config, `${readFileSync(config, 'utf8')}num_workers: 4\nbert_config: configs/bert.json\n`);
  const noted = await runCli(['check-data', '--config', config]);
  assert.equal(noted.code, 0, noted.stderr);
  const [note, summary] = noted.stdout.trimEnd().split('\n');
  assert.match(
    note ?? '',
    /^Note: The config .*forked\.yaml has keys that this program does not know: num_workers \(line 9\), bert_config \(line 10\)\. They have no effect here; --strict_config makes that an error\.$/,
  );
  assert.match(summary ?? '', /^coco: 3 files, .*: no defect$/);

  const strict = await runCli(['check-data', '--config', config, '--strict_config']);
  assert.equal(strict.code, 1);
  assert.equal(strict.stdout, '');
  assert.match(
    strict.stderr,
    /^error: The config .*forked\.yaml has 2 mistakes:\n +line 9: unknown key num_workers\n +line 10: unknown key bert_config\b/,
  );
  assert.doesNotMatch(strict.stderr, /^ +at |defect/m);

  const misspelled = await runCli(['check-data', '--config', config, '--set', 'k_tset=3']);
  assert.equal(misspelled.code, 2);
  assert.match(misspelled.stderr, /^error: .*k_tset.*k_test/);
  const sound = writeConfig('strict.yaml', join(golden, 'images'), join(golden, 'annotation'));
  const known = await runCli(['check-data', '--config', sound, '--strict_config']);
  assert.equal(known.code, 0, known.stderr);
  assert.doesNotMatch(known.stdout, /Note/);
});

test('defects of rows and images are one line each, with file and row, and exit code 1', async () => {
  const root = join(folder, 'defective');
  mkdirSync(root);
  cpSync(golden, root, { recursive: true });
  const annotation = join(root, 'annotation', 'coco_karpathy_val.json');
  const rows: { image: string; caption: string[] }[] = JSON.parse(readFileSync(annotation, 'utf8'));
  assert.ok(rows.length >= 4);
  const [first, second, third] = rows;
  assert.ok(first && second && third);
  writeFileSync(join(root, 'images', first.image), '');
  rmSync(join(root, 'images', second.image));
  third.caption = ['', '...'];
  writeFileSync(annotation, JSON.stringify(rows));
  rmSync(join(root, 'annotation', 'coco_karpathy_train.json'));
  const config = writeConfig('defective.yaml', join(root, 'images'), join(root, 'annotation'));
  const { code, stdout } = await runCli(['check-data', '--config', config]);
  assert.equal(code, 1);
  const lines = stdout.trimEnd().split('\n');
  assert.equal(lines.length, 6, stdout);
  assert.match(lines[0] ?? '', /^Note: .*coco_karpathy_train\.json does not exist\. Only training needs it\.$/);
  assert.equal(lines[1], `${annotation} row 3: field caption[0] is empty.`);
  assert.match(lines[2] ?? '', /row 3: field caption\[1\] has no words/);
  assert.match(lines[3] ?? '', new RegExp(`coco_karpathy_val.json row 1: The image .*${first.image} is empty`));
  assert.match(lines[4] ?? '', new RegExp(`coco_karpathy_val.json row 2: The image .*${second.image} does not exist`));
  assert.match(lines[5] ?? '', /^coco: 2 files, .*: 4 defects$/);
});

test('--json has the same as one object', async () => {
  const sound = writeConfig('json.yaml', join(golden, 'images'), join(golden, 'annotation'));
  const { code, stdout } = await runCli(['check-data', '--config', sound, '--json']);
  assert.equal(code, 0);
  const { files, defects, notes } = JSON.parse(stdout);
  assert.deepEqual({ files, defects, notes }, { files: 3, defects: [], notes: [] });
  const none = writeConfig('json-none.yaml', join(folder, 'no images'), folder);
  const bad = await runCli(['check-data', '--config', none, '--json']);
  assert.equal(bad.code, 1);
  const found = JSON.parse(bad.stdout);
  assert.equal(found.defects.length, 3);
  assert.match(found.notes[0], /Only training needs it/);
});

/** What `checkData` writes, to a terminal or not. */
function written(config: { imageRoot: string; annRoot: string; dataset: 'coco' | 'flickr' }, isTTY: boolean) {
  let text = '';
  const out = { isTTY, columns: 200, write: (part: string) => (text += part) };
  return { code: checkData(config, { workers: 1 }, out), text };
}

test('without any file there is a line for each split that evaluation needs', () => {
  const { code, text } = written({ imageRoot: join(folder, 'no images'), annRoot: folder, dataset: 'flickr' }, false);
  assert.equal(code, 1);
  assert.match(text, /flickr30k_val\.json does not exist\. Put it there/);
  assert.match(text, /flickr30k_test\.json does not exist\. Put it there/);
  assert.match(text, /The folder image_root .*no images does not exist\. Correct image_root/);
  assert.match(text, /flickr: 0 files, 0 valid rows, 0 captions, 0 images: 3 defects\n$/);
});

test('a terminal sees progress, a file does not', () => {
  const root = join(folder, 'small');
  mkdirSync(root);
  writeFileSync(join(root, 'a.png'), flatPng(4, 4, [1, 2, 3]));
  for (const split of ['val', 'test']) {
    writeFileSync(join(root, `coco_karpathy_${split}.json`), '[{"image": "a.png", "caption": "a"}]');
  }
  const config = { imageRoot: root, annRoot: root, dataset: 'coco' } as const;
  const file = written(config, false);
  assert.equal(file.code, 0);
  assert.ok(!file.text.includes('\r'));
  assert.match(file.text, /coco: 2 files, 2 valid rows, 2 captions, 1 image: no defect/);
  assert.match(written(config, true).text, /Decoding images .*1\/1/);
});
