// `embed` and `score`: the Retriever's numbers, in files and on standard output; images that cannot be read; wrong use.
// Covers commands/embed, commands/score, commands/text-lines.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { at } from '#blip/errors.js';
import { Retriever } from '#blip/index.js';
import { readSafetensors, readSafetensorsMetadata } from '#blip/torch/safetensors.js';
import { deviceOfRank, testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyCheckpoint, tinyData } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const photos = join(tinyData, 'images', 'test');
const image = join(photos, at(readdirSync(photos).sort(), 0));
const texts = ['a red square', 'two dogs'];
const bad = join(folder, 'bad.jpg');
let blip: Retriever;
let open: string[];

before(async () => {
  const checkpoint = await tinyCheckpoint(folder);
  open = ['--checkpoint', checkpoint, '--device', testDevice];
  blip = await Retriever.open(checkpoint, { device: deviceOfRank(0) });
  writeFileSync(bad, 'no image');
  writeFileSync(join(folder, 'texts.txt'), `\ufeff${texts[0]}\r\n\r\n${texts[1]}`);
});
after(() => blip.close());

function assertClose(a: ArrayLike<number>, b: ArrayLike<number>): void {
  assert.equal(a.length, b.length);
  for (let i = 0; i < a.length; i++) assert.ok(Math.abs(at(a, i) - at(b, i)) < 1e-5);
}

test('embed writes images of a folder, then texts, as .safetensors with ids', async () => {
  const path = join(folder, 'a.safetensors');
  const args = ['embed', photos, '--texts', join(folder, 'texts.txt'), '-o', path, '--batch-size=4', ...open];
  const { code, stdout, stderr } = await runCli(args);
  assert.deepEqual([code, stdout], [0, ''], stderr);
  const names = readdirSync(photos).sort();
  assert.match(stderr, new RegExp(`Embedded ${names.length + 2} of ${names.length + 2}\\.`));
  const metadata = readSafetensorsMetadata(path);
  assert.deepEqual(JSON.parse(metadata.get('ids') ?? ''), [...names.map((name) => join(photos, name)), ...texts]);
  assert.deepEqual([metadata.get('images'), metadata.get('texts')], [`${names.length}`, '2']);
  assert.equal(metadata.get('fingerprint'), blip.fingerprint);
  const features = readSafetensors(path).get('features');
  assert.ok(features !== undefined);
  assert.deepEqual([features.dtype, features.shape], ['float32', [names.length + 2, 256]]);
  const values = new Float32Array(new Uint8Array(features.data).buffer);
  assertClose(values.subarray(0, 256), await blip.embedImage(image));
  assertClose(values.subarray(-256), at(await blip.embedTexts([at(texts, 1)]), 0));
});

test('what was embedded is counted without what could not be read', async () => {
  const { code, stderr } = await runCli(['embed', join(folder, 'absent.jpg'), image, ...open]);
  assert.equal(code, 1);
  assert.match(stderr, /^Embedded 1 of 2\.\nerror: 1 of 2 images cannot be read and is left out:/);
});

test('embed without -o prints JSON lines, and nothing else with --quiet', async () => {
  const { code, stdout, stderr } = await runCli(['embed', image, '--quiet', ...open]);
  assert.deepEqual([code, stderr], [0, '']);
  const row = JSON.parse(stdout);
  assert.deepEqual([row.id, row.kind], [image, 'image']);
  assertClose(row.feature, await blip.embedImage(image));
});

test('embed lists bad images, writes the others, and ends with 1 unless they are to be skipped', async () => {
  const output = join(folder, 'b.jsonl');
  const args = ['embed', bad, image, join(folder, 'absent.png'), '-o', output, ...open];
  const { code, stderr } = await runCli(args);
  assert.equal(code, 1);
  assert.match(stderr, /error: 2 of 3 images cannot be read and are left out:\n {2}.*bad\.jpg.*\n {2}.*absent\.png/);
  assert.equal(readFileSync(output, 'utf8').trim().split('\n').length, 1);
  assert.equal((await runCli([...args, '--skip_bad_images'])).code, 0);
  const none = join(folder, 'none.safetensors');
  const all = await runCli(['embed', bad, '-o', none, ...open]);
  assert.equal(all.code, 1);
  assert.match(all.stderr, /error: None of the images could be read\.\n {2}/);
  assert.ok(!existsSync(none));
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('none')),
    [],
  );
});

test('score prints ITM and ITC of each text, as a table and as JSON', async () => {
  const expected = await blip.match(image, texts);
  const { code, stdout, stderr } = await runCli(['score', image, ...texts, '--json', ...open]);
  assert.equal(code, 0, stderr);
  const rows: { text: string; probability: number; similarity: number; score: number }[] = JSON.parse(stdout);
  assert.deepEqual(
    rows.map(({ text }) => text),
    texts,
  );
  for (const [i, { probability, similarity, score }] of expected.entries()) {
    const row = at(rows, i);
    assertClose([row.probability, row.similarity, row.score], [probability, similarity, score]);
  }
  const lines = (await runCli(['score', image, ...texts, ...open])).stdout.trim().split('\n');
  assert.match(at(lines, 0), /^probability +similarity +score +text$/);
  assert.match(at(lines, 1), /^\d\.\d{4} +-?\d\.\d{4} +-?\d+\.\d{4} +a red square$/);
});

test('wrong use of embed and score is one sentence and code 2', async () => {
  for (const [args, message] of [
    [['embed'], /^error: There is nothing to embed\. Name images/],
    [['embed', image, '-o', 'a.npy'], /^error: a\.npy is neither \.safetensors nor \.jsonl/],
    [['embed', image, '--batch_size', '0'], /Expected a whole number from 1 to 4096/],
    [['score', image], /missing required argument 'texts'/],
    [['score', image, ' '], /^error: A text is empty/],
    [['score', image, '-', '-'], /^error: Standard input can be read once/],
  ] as const) {
    const { code, stdout, stderr } = await runCli(args);
    assert.deepEqual([code, stdout], [2, ''], stderr);
    assert.match(stderr, message);
  }
  const absent = await runCli(['score', join(folder, 'absent.png'), 'a', ...open]);
  assert.equal(absent.code, 1);
  const latin = join(folder, 'latin.txt');
  writeFileSync(latin, Buffer.from([0x68, 0xe9, 0x0a]));
  assert.match((await runCli(['embed', '--texts', latin, ...open])).stderr, /latin\.txt is not text in UTF-8/);
});
