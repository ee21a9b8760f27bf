// Annotations of other people's making: other forms, odd rows, odd names, absent files; evaluated and trained on.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { before, test } from 'node:test';
import { itmEval } from '#blip/evaluation/recall.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import {
  type ConfigValues,
  evaluationValues,
  tinyCheckpoint,
  trainingValues,
  writeConfigFile,
} from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const golden = join(projectRoot, 'test/golden/rule_tiny/data');
const images = join(golden, 'images');

interface Row {
  image: string;
  caption: string[];
}
const rowsOf = (split: string): Row[] =>
  JSON.parse(readFileSync(join(golden, 'annotation', `coco_karpathy_${split}.json`), 'utf8'));
// Enough that rows and captions in another order, or lost, change a recall.
const [val, held] = [rowsOf('val').slice(0, 6), rowsOf('test').slice(0, 12)];
const trainRows: { image: string; caption: string; image_id: string }[] = JSON.parse(
  readFileSync(join(golden, 'annotation/coco_karpathy_train.json'), 'utf8'),
);

let pretrained: string;
before(async () => {
  pretrained = await tinyCheckpoint(folder);
});

let made = 0;
/** A folder of annotation files: texts as they are, other values as JSON. */
function annRoot(files: Record<string, unknown>): string {
  const root = join(folder, `ann${made++}`);
  mkdirSync(root);
  for (const [split, rows] of Object.entries(files))
    writeFileSync(join(root, `coco_karpathy_${split}.json`), typeof rows === 'string' ? rows : JSON.stringify(rows));
  return root;
}

/** Runs the main command on the annotations of `root`. */
async function run(root: string, changes: ConfigValues = {}, ...flags: string[]) {
  const output = join(folder, `out${made++}`);
  const values = { ...trainingValues(pretrained), ...evaluationValues(pretrained), image_root: images, k_test: 2 };
  const config = writeConfigFile(join(root, 'config.yaml'), { ...values, ann_root: root, ...changes });
  const args = ['--config', config, '--output_dir', output, '--device', 'cpu', ...flags];
  return { ...(await runCli(args, { OMP_NUM_THREADS: '1' })), output };
}
const evaluate = (root: string, changes: ConfigValues = {}, ...flags: string[]) =>
  run(root, changes, '--evaluate', '--quiet', ...flags);

let plainRecalls: string | undefined;
/** evaluate.txt of the golden annotations. */
async function plain(): Promise<string> {
  if (plainRecalls === undefined) {
    const { code, stderr, output } = await evaluate(annRoot({ val, test: held }));
    assert.equal(code, 0, stderr);
    plainRecalls = readFileSync(join(output, 'evaluate.txt'), 'utf8');
  }
  return plainRecalls;
}

let cocoid = 100;
const karpathy = (splits: [name: string, rows: Row[]][]) => ({
  dataset: 'coco',
  images: splits.flatMap(([split, rows]) =>
    rows.map(({ image, caption }, imgid) => ({
      filepath: image.split('/')[0],
      sentids: [1],
      filename: basename(image),
      imgid,
      split,
      sentences: caption.map((raw) => ({ tokens: raw.split(' '), raw, imgid })),
      cocoid: cocoid++,
    })),
  ),
});
/** COCO's captions_*.json: names of images without their folder are found in image_root itself. */
const coco = (rows: Row[]) => ({
  info: { year: 2014 },
  images: rows.map(({ image }, id) => ({ id, file_name: image, width: 96 })),
  licenses: [],
  annotations: rows.flatMap(({ caption }, image_id) => caption.map((text, id) => ({ image_id, id, caption: text }))),
});
const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

const forms: [what: string, files: () => Record<string, unknown>][] = [
  [
    'with NaN in a field that nobody reads',
    () => ({
      val: JSON.stringify(val).replaceAll('{"image"', '{"score": NaN, "other": [-Infinity, {"x": Infinity}], "image"'),
      test: held,
    }),
  ],
  ['in JSON Lines', () => ({ val: lines(val), test: lines(held) })],
  [
    "in Karpathy's form",
    () => ({
      val: karpathy([
        ['val', val],
        ['test', held],
      ]),
      test: karpathy([['test', held]]),
    }),
  ],
  ["in COCO's form", () => ({ val: coco(val), test: coco(held) })],
  ['with a byte order mark', () => ({ val: `\ufeff${JSON.stringify(val)}`, test: `\ufeff${lines(held)}` })],
];
for (const [what, files] of forms) {
  test(`annotations ${what} are evaluated to the same recalls`, async () => {
    const { code, stderr, output } = await evaluate(annRoot(files()));
    assert.equal(code, 0, stderr);
    assert.equal(readFileSync(join(output, 'evaluate.txt'), 'utf8'), await plain());
  });
}

test("convert-annotations writes Karpathy's file as the three splits, which train and evaluate", async () => {
  const source = join(folder, 'dataset_coco.json');
  const train = [...new Map(trainRows.map((row) => [row.image, row])).keys()].map((image) => ({
    image,
    caption: trainRows.filter((row) => row.image === image).map(({ caption }) => caption),
  }));
  const half = train.length >> 1;
  const parts: [string, Row[]][] = [
    ['train', train.slice(0, half)],
    ['restval', train.slice(half)],
    ['val', val],
    ['test', held],
  ];
  writeFileSync(source, JSON.stringify(karpathy(parts)));
  const root = join(folder, 'converted');
  const converted = await runCli(['convert-annotations', source, root]);
  assert.equal(converted.code, 0, converted.stderr);
  assert.match(
    converted.stdout,
    new RegExp(`coco_karpathy_train\\.json: ${trainRows.length} rows, ${train.length} images`),
  );
  const read = (split: string) => JSON.parse(readFileSync(join(root, `coco_karpathy_${split}.json`), 'utf8'));
  assert.deepEqual(read('val'), val);
  assert.deepEqual(read('test'), held);
  const rows: typeof trainRows = read('train');
  assert.deepEqual(
    rows.map(({ image, caption }) => [image, caption]),
    train.flatMap(({ image, caption }) => caption.map((text) => [image, text])),
  );
  assert.equal(new Set(rows.map(({ image_id }) => image_id)).size, train.length);
  const again = await runCli(['convert-annotations', source, root]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /coco_karpathy_train\.json exists already\. Move it away/);
  const trained = await run(root, { batch_size_train: 2, max_epoch: 1 }, '--max_steps', '2');
  assert.equal(trained.code, 0, trained.stderr);
  // In the place of each split's file Karpathy's own is read to the same rows.
  const text = readFileSync(source, 'utf8');
  const direct = await run(
    annRoot({ train: text, val: text, test: text }),
    { batch_size_train: 2, max_epoch: 1 },
    '--max_steps',
    '2',
  );
  assert.equal(direct.code, 0, direct.stderr);
  const losses = (output: string) => readFileSync(join(output, 'checkpoint_last.pth'));
  assert.ok(losses(direct.output).length > 0 && losses(trained.output).length === losses(direct.output).length);
});

test('convert-annotations groups JSON Lines by image, and asks for a split that it cannot know', async () => {
  const source = join(folder, 'mine.jsonl');
  writeFileSync(
    source,
    lines(
      held.flatMap(({ image, caption }) => caption.map((text) => ({ image: image.replace('/', '\\'), caption: text }))),
    ),
  );
  const asked = await runCli(['convert-annotations', source, join(folder, 'none')]);
  assert.equal(asked.code, 1);
  assert.match(asked.stderr, /mine\.jsonl does not say which split it is\. Name it with --split/);
  assert.ok(!existsSync(join(folder, 'none')));
  const root = join(folder, 'grouped');
  const { code, stderr } = await runCli([
    'convert-annotations',
    source,
    root,
    '--split',
    'test',
    '--dataset',
    'flickr',
  ]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(readFileSync(join(root, 'flickr30k_test.json'), 'utf8')), held);
});

test("convert-annotations gives COCO's images their folder, and takes the split from the file's name", async () => {
  const source = join(folder, 'captions_val2014.json');
  const name = 'COCO_val2014_000000000042.jpg';
  const images = [
    { id: 42, file_name: name },
    { id: 7, file_name: '000000000007.jpg', coco_url: 'http://images.cocodataset.org/val2017/000000000007.jpg' },
  ];
  const annotations = [42, 7, 42].map((image_id, id) => ({ image_id, id, caption: `Caption ${id}` }));
  writeFileSync(source, JSON.stringify({ images, annotations }));
  const root = join(folder, 'of coco');
  const { code, stderr } = await runCli(['convert-annotations', source, root]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(readFileSync(join(root, 'coco_karpathy_val.json'), 'utf8')), [
    { image: `val2014/${name}`, caption: ['Caption 0', 'Caption 2'] },
    { image: 'val2017/000000000007.jpg', caption: ['Caption 1'] },
  ]);
});

const unknown: [what: string, text: string, message: RegExp][] = [
  [
    'an unknown object',
    '{"data": [], "meta": 1}',
    /expected a list of rows, JSON Lines, .* but received an object with the fields data and meta\./,
  ],
  [
    'COCO objects',
    '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 1, "image_id": 1, "bbox": [1]}]}',
    /annotations\[0\] has no field caption\. Give captions_\*\.json/,
  ],
  [
    'rows of other fields',
    '[{"img": "a", "text": "b"}]',
    /row 1: expected the fields image and caption but found img and text\./,
  ],
  [
    'a Karpathy file without this split',
    JSON.stringify(karpathy([['train', val]])),
    /has no images of the split val\./,
  ],
  [
    'a Karpathy image without raw',
    '{"images": [{"filename": "a", "split": "val", "sentences": [{"tokens": ["a"]}]}]}',
    /images\[0\]: field sentences\[0\]\.raw is missing\./,
  ],
  [
    'broken JSON Lines',
    `${lines(val)}{"image": "a.jpg",\n`,
    new RegExp(`broken JSON at line ${val.length + 2}, column 1\\.`),
  ],
];
for (const [what, text, message] of unknown) {
  test(`${what}: named with what was found and what is expected`, async () => {
    const { code, stderr } = await evaluate(annRoot({ val: text, test: held }));
    assert.equal(code, 1);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
  });
}

test('empty captions and rows without captions are evaluated as the reference does, and counted in one note', async () => {
  const odd = [
    { image: held[0]?.image ?? '', caption: [] },
    ...held.slice(1),
    { image: val[0]?.image ?? '', caption: ['', '...', 'a dog'] },
  ];
  const root = annRoot({ val, test: odd });
  const { code, stdout, stderr, output } = await run(root, {}, '--evaluate', '--save_scores');
  assert.equal(code, 0, stderr);
  assert.equal(stdout.match(/captions or lists of captions are empty/g)?.length, 1, stdout);
  assert.match(
    stdout,
    /coco_karpathy_test\.json: 3 captions or lists of captions are empty\. They are evaluated as the ref/,
  );
  const scores = readSafetensors(join(output, 'scores_test.safetensors'));
  const matrix = (name: string) => {
    const { data, shape } = scores.get(name) ?? assert.fail(name);
    return { shape, values: new Float32Array(new Uint8Array(data).buffer) };
  };
  const texts = odd.reduce((sum, { caption }) => sum + caption.length, 0);
  assert.deepEqual(matrix('i2t').shape, [odd.length, texts]);
  let next = 0;
  const img2txt = odd.map(({ caption }) => caption.map(() => next++));
  const txt2img = Int32Array.from(img2txt.flatMap((own, image) => own.map(() => image)));
  const metrics = itmEval(matrix('i2t').values, matrix('t2i').values, txt2img, img2txt);
  const found = JSON.parse(readFileSync(join(output, 'evaluate.txt'), 'utf8'));
  for (const [key, value] of Object.entries(metrics)) assert.equal(found[`test_${key}`], value);
  const checked = await runCli(['check-data', '--config', join(root, 'config.yaml')]);
  assert.equal(checked.code, 1);
  assert.match(checked.stdout, /test\.json row 1: field caption is an empty list/);
  assert.match(checked.stdout, /: 3 defects\n$/);
});

test('a split without any caption is refused with a sentence', async () => {
  const { code, stderr } = await evaluate(annRoot({ val: val.map((row) => ({ ...row, caption: [] })), test: held }));
  assert.equal(code, 1);
  assert.match(stderr, /coco_karpathy_val\.json has no captions\./);
});

test('an empty caption is trained on, and noted once', async () => {
  const train = trainRows.map((row, i) => (i === 1 ? { ...row, caption: '' } : row));
  const { code, stdout, stderr } = await run(
    annRoot({ train, val, test: held }),
    { batch_size_train: 2 },
    '--max_steps',
    '2',
  );
  assert.equal(code, 0, stderr);
  assert.equal(stdout.match(/train\.json: 1 caption or list of captions is empty/g)?.length, 1, stdout);
});

test('a missing file beside own ones is named, and nothing is fetched', async () => {
  for (const [files, absent] of [
    [{ test: held }, 'val'],
    [{ val }, 'test'],
    [{ train: trainRows }, 'val'],
  ] as const) {
    const root = annRoot(files);
    const { code, stderr } = await evaluate(root, {}, '--device', 'cpu');
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`coco_karpathy_${absent}\\.json does not exist, and the published one is not fetched`),
    );
    assert.ok(!existsSync(join(root, `coco_karpathy_${absent}.json.part`)));
  }
  const { code, stderr } = await run(annRoot({ val, test: held }));
  assert.equal(code, 1);
  assert.match(stderr, /coco_karpathy_train\.json does not exist, and the published one is not fetched beside/);
});

test('images outside image_root: refused with the flag that allows them, and read with it', async () => {
  const outside = held.map(({ image, caption }, i) => ({
    image: i === 0 ? join(images, image) : `../images/${image}`,
    caption,
  }));
  const root = annRoot({ val, test: outside });
  const refused = await evaluate(root);
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /row 1: field image ".*" leaves image_root\. Write it relative to that folder, or set --allow_outside_images\./,
  );
  const { code, stderr, output } = await evaluate(root, {}, '--allow_outside_images');
  assert.equal(code, 0, stderr);
  assert.equal(readFileSync(join(output, 'evaluate.txt'), 'utf8'), await plain());
  const config = join(root, 'config.yaml');
  assert.match((await runCli(['check-data', '--config', config])).stdout, /or set --allow_outside_images\.\n/);
  assert.equal((await runCli(['check-data', '--config', config, '--allow_outside_images'])).code, 0);
});

test('names in another normal form of Unicode and with backslashes are found', async () => {
  const root = join(folder, 'images');
  cpSync(images, root, { recursive: true });
  const copies = ['test', 'tést'.normalize('NFC')];
  const odd = held.map((row, i) => {
    const name = `${copies[i % 2]}/${`größe ${i}.png`.normalize(i % 2 === 0 ? 'NFD' : 'NFC')}`;
    mkdirSync(join(root, copies[i % 2] ?? ''), { recursive: true });
    cpSync(join(root, row.image), join(root, name));
    return { ...row, image: name.normalize(i % 2 === 0 ? 'NFC' : 'NFD').replace('/', i % 2 === 0 ? '/' : '\\') };
  });
  const windows = val.map((row) => ({ ...row, image: row.image.replaceAll('/', '\\') }));
  const { code, stderr, output } = await evaluate(annRoot({ val: windows, test: odd }), { image_root: root });
  assert.equal(code, 0, stderr);
  assert.equal(readFileSync(join(output, 'evaluate.txt'), 'utf8'), await plain());
  for (const image of ['C:\\data\\a.jpg', '..\\..\\etc\\passwd']) {
    const bad = await evaluate(annRoot({ val: [{ image, caption: ['a'] }], test: held }));
    assert.match(bad.stderr, /row 1: field image ".*" (is a path of Windows|leaves image_root)\. Write it relative/);
  }
});

test('captions of any size and make are tokens like others', async () => {
  const big = 1 << 20;
  const captions = [',', 'x', '😀', '👨‍👩‍👧', '\0', 'a\0', '猫', '\u0301', "'", '[', '\ud800'].map((part) =>
    part.repeat(Math.ceil((part === ',' ? 130_000 : big) / part.length / (part === ',' ? 1 : 8))),
  );
  const [first, ...others] = held;
  const odd = [{ image: first?.image ?? '', caption: captions }, ...others];
  const { code, stdout, stderr } = await evaluate(annRoot({ val, test: odd }));
  assert.equal(code, 0, stderr);
  assert.match(stdout, /test/);
});
