// Training rows as bytes: what the compact form gives is what is in the file, whichever way a row was read.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ByteStrings, ByteTable } from '#blip/data/byte-strings.js';
import { preCaption } from '#blip/data/caption.js';
import { loadTrainingSet } from '#blip/data/training-set.js';
import { UserError } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();
const file = join(folder, 'coco_karpathy_train.json');
const options = { annRoot: folder, imageRoot: folder, dataset: 'coco' } as const;

type Row = { image: string; caption: string; image_id: string | number; [more: string]: unknown };

/** Rows of every kind that the quick way knows, and of every kind that it leaves to the slow one. */
function drawnRows(count: number): Row[] {
  const captions = [
    'A dog.',
    'Ein Hund, süß',
    '猫がいる',
    'a "quoted" cat',
    'tab\there',
    '... yes',
    '(1)',
    'x'.repeat(3000),
  ];
  const extra = [{}, { score: null }, { id: 5 }, { tags: ['a', { b: 1 }] }, { note: 'n\\u' }, { ok: 1.5 }];
  return Array.from({ length: count }, (_, i) => ({
    ...(i % 3 === 0 ? extra[i % extra.length] : {}),
    image: [`a/${i % 50}.jpg`, `b/ü${i % 7}.jpg`, 'a/"x".jpg'][i % 3] ?? '',
    caption: captions[i % captions.length] ?? '',
    image_id: i % 5 === 0 ? i % 35 : `id_${i % 50}`,
  }));
}

function expectSet(set: Awaited<ReturnType<typeof loadTrainingSet>>, rows: Row[]) {
  const ids = new Map<unknown, number>();
  for (const { image_id: id } of rows) if (!ids.has(id)) ids.set(id, ids.size);
  assert.equal(set.imageCount, ids.size);
  assert.deepEqual(
    [...set.idx],
    rows.map(({ image_id: id }) => ids.get(id)),
  );
  assert.equal(set.images.length, rows.length);
  assert.equal(set.captions.length, rows.length);
  for (const [i, { image, caption }] of rows.entries()) {
    assert.equal(set.images.at(i), join(folder, image));
    assert.equal(set.captions.at(i), preCaption(caption));
  }
  const { files } = set;
  assert.ok(files);
  assert.equal(files.paths.length, new Set(rows.map(({ image }) => image)).size);
  assert.deepEqual(
    Array.from(files.of, (image) => files.paths.at(image)),
    rows.map((_, i) => set.images.at(i)),
  );
}

for (const [what, write] of [
  ['as JSON.stringify writes it', (rows: Row[]) => JSON.stringify(rows)],
  [
    "as Python's json.dump writes it",
    (rows: Row[]) => JSON.stringify(rows).replaceAll('":"', '": "').replaceAll(',"', ', "'),
  ],
  ['indented', (rows: Row[]) => JSON.stringify(rows, null, 2)],
  ['as JSON Lines', (rows: Row[]) => rows.map((row) => JSON.stringify(row)).join('\n')],
  [
    'with everything beyond ASCII escaped',
    (rows: Row[]) =>
      JSON.stringify(rows).replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`),
  ],
] as const) {
  test(`4,000 rows ${what}`, async () => {
    const rows = drawnRows(4000);
    writeFileSync(file, write(rows));
    expectSet(await loadTrainingSet(options), rows);
  });
}

test('ids beyond 2^53 are told apart, as in Python', async () => {
  const row = (id: string) => `{"image": "a.jpg", "caption": "b", "image_id": ${id}}`;
  const ids = [
    '9007199254740993',
    '9007199254740992',
    '-9007199254740993',
    '9007199254740993',
    '7',
    '7.0',
    '7e0',
    '"7"',
  ];
  writeFileSync(file, `[${ids.map(row).join(',')}]`);
  assert.deepEqual([...(await loadTrainingSet(options)).idx], [0, 1, 2, 0, 3, 3, 3, 4]);
});

test('of equal keys the last counts, and a key may be escaped', async () => {
  writeFileSync(
    file,
    '[{"image": "a.jpg", "image": "b.jpg", "caption": "...", "caption": "c", "image_id": 1, "image_id": "x"},' +
      '{"imag\\u0065": "b.jpg", "caption": "c", "image_id": "x"}]',
  );
  const set = await loadTrainingSet(options);
  assert.deepEqual([set.images.at(0), set.captions.at(0), [...set.idx]], [join(folder, 'b.jpg'), 'c', [0, 0]]);
});

test('broken JSON far into a large file is placed by line and column', async () => {
  const rows = drawnRows(30_000).map((row) => JSON.stringify(row));
  rows[29_000] += ' x';
  writeFileSync(file, `[${rows.join(',\n')}]`);
  const column = Array.from(rows[29_000] ?? '').length;
  await assert.rejects(
    loadTrainingSet(options),
    (error) => error instanceof UserError && error.message.includes(`broken JSON at line 29001, column ${column}.`),
  );
});

test('a row that is larger than what is read at a time', async () => {
  const caption = 'word '.repeat(1_000_000);
  writeFileSync(
    file,
    JSON.stringify([
      { image: 'a.jpg', caption, image_id: 1 },
      { image: 'b.jpg', caption: 'c', image_id: 2 },
    ]),
  );
  const set = await loadTrainingSet(options);
  assert.deepEqual([set.captions.at(0), set.captions.at(1)], [preCaption(caption), 'c']);
});

test('empty captions are rows like others and counted in one note', async () => {
  const rows = ['', ' ...', 'a', '\n'].map((caption, i) => ({ image: 'a.jpg', caption, image_id: i }));
  writeFileSync(file, JSON.stringify(rows));
  const set = await loadTrainingSet(options);
  assert.deepEqual(
    [0, 1, 2, 3].map((row) => set.captions.at(row)),
    ['', '', 'a', ''],
  );
  assert.equal(set.notes?.length, 1);
  assert.match(set.notes?.[0] ?? '', /coco_karpathy_train\.json: 3 captions or lists of captions are empty\./);
});

test('reading says how far it is, after a second by the clock it is given', async () => {
  writeFileSync(file, JSON.stringify(drawnRows(20_000)));
  const lines: string[] = [];
  let time = 0;
  await loadTrainingSet({ ...options, print: (line) => lines.push(line), now: () => (time += 300) });
  assert.ok(lines.length > 0);
  assert.match(lines[0] ?? '', /^Reading coco_karpathy_train\.json: \d+ of \d+ MB$/);
  const quick: string[] = [];
  await loadTrainingSet({ ...options, print: (line) => quick.push(line), now: () => 0 });
  assert.deepEqual(quick, []);
});

test('texts across the borders of segments', () => {
  const strings = new ByteStrings();
  const table = new ByteTable();
  const texts = Array.from(
    { length: 60 },
    (_, i) => `${i}`.repeat(30_000 + i) + (i % 7 === 0 ? 'é'.repeat(600_000) : ''),
  );
  for (const [i, text] of ['', ...texts].entries()) {
    const bytes = Buffer.from(text);
    assert.equal(strings.push(bytes, 0, bytes.length), i);
    assert.equal(table.find(bytes, 0, bytes.length), -1);
    assert.equal(table.add(bytes, 0, bytes.length), i);
  }
  for (const [i, text] of ['', ...texts].entries()) {
    const bytes = Buffer.from(`_${text}_`);
    assert.ok(strings.at(i) === text);
    assert.equal(table.find(bytes, 1, bytes.length - 1), i);
  }
});
