// The programs of examples/ on the demo's data: they give what the command gives, and stay under 40 lines.
// Covers index.ts and core.ts.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { preCaption } from '#blip/data/caption.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import { assertSameResult } from '../helpers/same-results.js';

const folder = temporaryFolder();

const config = join(projectRoot, 'configs/demo.yaml');
const demo = join(folder, 'demo');
const settings = [
  `image_root=${join(demo, 'data/images')}`,
  `ann_root=${join(demo, 'data/annotation')}`,
  `pretrained=${join(demo, 'tiny.pth')}`,
];
const folderText = (output: string, name: string) => readFileSync(join(folder, output, name), 'utf8');

before(async () => {
  const size = ['--images', '10', '--train_images', '20', '--epochs', '0'];
  const { code, stderr } = await runCli(['demo', '--output_dir', demo, ...size]);
  assert.equal(code, 0, stderr);
});

/** What an example prints. */
function run(name: string, ...args: string[]): string {
  return execFileSync(process.execPath, [join(projectRoot, 'examples', name), ...args], { encoding: 'utf8' });
}

test('each example has fewer than 40 lines', () => {
  for (const name of readdirSync(join(projectRoot, 'examples')).filter((file) => file.endsWith('.mjs')))
    assert.ok(
      readFileSync(join(projectRoot, 'examples', name), 'utf8')
        .trimEnd()
        .split('\n').length < 40,
      name,
    );
});

test('evaluate.mjs prints the recalls that the command writes', () => {
  const printed = run('evaluate.mjs', config, ...settings);
  const recalls = [...printed.matchAll(/^ +(\w+): ([\d.]+),?$/gm)].map(([, name, value]) => [
    `test_${name}`,
    Number(value),
  ]);
  const written: Record<string, number> = JSON.parse(folderText('demo', 'evaluate.txt'));
  assert.equal(recalls.length, 9);
  assert.deepEqual(
    Object.fromEntries(recalls),
    Object.fromEntries(recalls.map(([name]) => [name, written[String(name)]])),
  );
});

test('retriever.mjs prints the texts, best first, with both scores', () => {
  const rows: { image: string }[] = JSON.parse(folderText('demo', 'data/annotation/coco_karpathy_test.json'));
  const image = join(demo, 'data/images', rows[0]?.image ?? '?');
  const texts = ['a red circle', 'two blue squares', 'a green triangle'];
  const lines = run('retriever.mjs', join(demo, 'tiny.pth'), image, ...texts)
    .trimEnd()
    .split('\n');
  const printed = lines.map((line) => /^([\d.]+) % {2}(-?[\d.]+) {2}(.+)$/.exec(line));
  assert.deepEqual(printed.map((match) => match?.[3]).sort(), [...texts].sort());
});

test('embed.mjs prints a caption of the test split for each of five images', () => {
  const lines = run('embed.mjs', config, ...settings)
    .trimEnd()
    .split('\n');
  const rows: { image: string; caption: string[] }[] = JSON.parse(
    folderText('demo', 'data/annotation/coco_karpathy_test.json'),
  );
  assert.equal(lines.length, 5);
  for (const [i, line] of lines.entries()) {
    const [image = '', caption = ''] = line.split(': ');
    assert.ok(image.endsWith(rows[i]?.image ?? '?'), line);
    assert.ok(
      rows.some((row) => row.caption.map((text) => preCaption(text)).includes(caption)),
      line,
    );
  }
});

test('fine-tune.mjs trains to the log and the losses of the command', async () => {
  const training = [...settings, 'max_epoch=2', 'batch_size_train=16'];
  run('fine-tune.mjs', config, join(folder, 'example'), ...training);
  const set = training.flatMap((setting) => ['--set', setting]);
  const args = ['--config', config, '--output_dir', join(folder, 'command'), '--log_every', '10', ...set];
  const { code, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  for (const name of ['log.txt', 'metrics.jsonl'])
    assertSameResult(name, join(folder, 'example'), join(folder, 'command'));
  assert.ok(readdirSync(join(folder, 'example')).includes('checkpoint_best.pth'));
});

test('search.mjs prints images of the folder, most similar first, the second time without encoding them again', () => {
  const args = [join(demo, 'data/images'), 'a red circle', join(demo, 'tiny.pth')];
  const first = run('search.mjs', ...args);
  assert.equal(run('search.mjs', ...args), first);
  const lines = first.trimEnd().split('\n');
  const similarities = lines.map((line) => Number(line.split(' ')[0]));
  assert.equal(lines.length, 5);
  assert.deepEqual(
    similarities,
    [...similarities].sort((a, b) => b - a),
  );
  for (const line of lines) assert.ok(existsSync(line.slice(line.indexOf(' ') + 1)), line);
});
