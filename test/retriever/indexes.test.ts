// Indexes through a Retriever and its thread: made, searched, re-ranked, refused.
// Covers retriever, index-encoder, indexes, fingerprint, engine, index/image-index.
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { at } from '#blip/errors.js';
import { type Hit, type ImageIndex, type Query, Retriever, type SearchOptions, UserError } from '#blip/index.js';
import { openTensorFile, stateDictOf, writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { readSafetensors, writeSafetensors } from '#blip/torch/safetensors.js';
import { deviceOfRank, testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';
import { readJson } from '../helpers/tensors.js';
import { evaluationValues, tinyCheckpoint, tinyData, writeConfigFile } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const photos = join(folder, 'photos');
const device = deviceOfRank(0);
const rows = readJson<{ image: string; caption: string[] }[]>(join(tinyData, 'annotation/coco_karpathy_test.json'));
const captions = rows.flatMap(({ caption }) => caption);
let checkpoint: string;
let blip: Retriever;
let index: ImageIndex;

before(async () => {
  for (const { image } of rows) cpSync(join(tinyData, 'images', image), join(photos, image));
  checkpoint = await tinyCheckpoint(folder);
  blip = await Retriever.open(checkpoint, { device });
  index = await blip.createIndex(photos);
});
after(() => blip.close());

const says = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof UserError, String(error));
  assert.match(error.message, message);
  return true;
};
const near = (a: number | undefined, b: number | undefined, by = 1e-6) =>
  assert.ok(a !== undefined && b !== undefined && Math.abs(a - b) <= by, `${a} and ${b}`);

test('an index beside its folder, of every image, with the features that embedImage gives', async () => {
  assert.equal(index.name, `${photos}.index`);
  assert.equal(index.size, rows.length);
  assert.equal(index.facts.fingerprint, blip.fingerprint);
  const { image } = at(rows, 3);
  const path = join(photos, image);
  const feature = await blip.embedImage(path);
  const queries: Query[] = [{ id: image }, { vector: feature }, { image: path }, { image: readFileSync(path) }];
  for (const query of queries) {
    const [first, second, ...others] = await index.search(query, { top: 3 });
    assert.deepEqual([first?.id, first?.path], [image, path]);
    near(first?.similarity, 1);
    assert.ok(second !== undefined && second.similarity < 1 && others.length === 1);
  }
  const image4 = await index.get(image);
  assert.deepEqual([image4?.id, image4?.size], [image, readFileSync(path).length]);
});

test('similarities are the dot products of the features, best first', async () => {
  const text = at(captions, 7);
  const [feature] = await blip.embedTexts([text]);
  const hits = await index.search(text, { top: 1000 });
  assert.equal(hits.length, rows.length);
  for (const [i, { id, similarity }] of hits.entries()) {
    const image = await blip.embedImage(join(photos, id));
    near(
      similarity,
      image.reduce((sum, value, e) => sum + value * (feature?.[e] ?? Number.NaN), 0),
    );
    assert.ok(i === 0 || similarity <= at(hits, i - 1).similarity);
  }
  assert.equal((await index.search({ text })).length, 10);
});

test('re-ranked scores are those of --evaluate --save_scores, to within rounding', async () => {
  const output = join(folder, 'out');
  const config = writeConfigFile(join(folder, 'c.yaml'), evaluationValues(checkpoint));
  const args = ['--config', config, '--output_dir', output, '--evaluate', '--save_scores', '--device', testDevice];
  const { code, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  const bytes = readSafetensors(join(output, 'scores_test.safetensors')).get('t2i')?.data ?? new Uint8Array();
  const scores = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4); // (texts, images)
  const differences: number[] = [];
  for (const [t, caption] of captions.entries()) {
    const hits = await index.search(caption, { top: 24, rerank: 8 });
    assert.equal(hits.filter(({ score }) => score !== undefined).length, 8);
    assert.ok(hits.slice(0, 8).every(({ score }, i) => i === 0 || (score ?? 0) <= (at(hits, i - 1).score ?? 0)));
    for (const { id, score, probability } of hits.slice(0, 8)) {
      const expected = at(scores, t * rows.length + rows.findIndex(({ image }) => image === id));
      differences.push(Math.abs((score ?? Number.NaN) - expected));
      assert.ok(probability !== undefined && probability > 0 && probability < 1);
    }
    const rest = hits.slice(8).map(({ similarity }) => similarity);
    assert.deepEqual(
      rest,
      [...rest].sort((a, b) => b - a),
    );
  }
  assert.equal(differences.length, 119 * 8);
  // A text alone makes products of few rows, which round a little differently: one pair in fifty is off by more than 1e-6.
  assert.ok(Math.max(...differences) < 2.5e-6, String(Math.max(...differences)));
  assert.ok(differences.filter((difference) => difference > 1e-6).length < 952 / 20);
});

test('a re-ranked image has the numbers of match; fewer are returned than re-ranked', async () => {
  const [hit, ...others] = await index.search('two dogs', { top: 1, rerank: 5 });
  assert.ok(hit?.path !== undefined && others.length === 0);
  const match = await blip.match(hit.path, 'two dogs');
  near(hit.probability, match.probability);
  near(hit.score, match.score);
  const five = await index.search('two dogs', { top: 5, rerank: 5 });
  assert.deepEqual(five[0], hit);
});

test('kept tokens: the same ranking without the files, within what bfloat16 loses', async () => {
  const kept = await blip.createIndex(photos, { output: join(folder, 'kept.index'), keepTokens: true });
  const text = at(captions, 20);
  const [with_, without] = [await kept.search(text, { rerank: 10 }), await index.search(text, { rerank: 10 })];
  const scores = new Map(without.map(({ id, score }) => [id, score]));
  for (const { id, score } of with_) near(score, scores.get(id), 0.05);
  const moved = join(folder, 'elsewhere');
  renameSync(photos, moved);
  try {
    assert.deepEqual(await kept.search(text, { rerank: 10 }), with_);
    const hits = await index.search(text, { rerank: 10 });
    assert.ok(
      hits.every(({ probability }) => probability === undefined),
      'hits stay without a probability',
    );
  } finally {
    renameSync(moved, photos);
  }
  await kept.close();
});

test('an image that changed since it was indexed is not matched as it is now', async () => {
  const [first, second] = await index.search('a cat', { rerank: 2 });
  assert.ok(first?.path !== undefined && first.probability !== undefined && second?.path !== undefined);
  const bytes = readFileSync(first.path);
  writeFileSync(first.path, readFileSync(second.path));
  const hits = await index.search('a cat', { rerank: 2 });
  assert.deepEqual(
    hits.slice(0, 2).map(({ id, probability }) => [id, probability !== undefined]),
    [
      [second.id, true],
      [first.id, false],
    ],
  );
  writeFileSync(first.path, bytes);
  utimesSync(first.path, 1000, 1000);
  assert.ok((await index.search('a cat', { rerank: 2 })).slice(0, 2).every(({ score }) => score !== undefined));
});

test('the same weights have one fingerprint in another file, and other weights another', async () => {
  using file = await openTensorFile(checkpoint);
  const weights = new Map(
    [...stateDictOf(file.checkpoint)].map(([name, ref]) => [
      name,
      { dtype: ref.dtype, shape: ref.shape, data: file.tensor(ref).bytes() },
    ]),
  );
  const open = async (path: string) => {
    const other = await Retriever.open(path, { device });
    await other.close();
    return other.fingerprint;
  };
  const same = join(folder, 'same.safetensors');
  await writeSafetensors(same, weights);
  assert.equal(await open(same), blip.fingerprint);
  const name = 'text_proj.bias';
  const bias = weights.get(name);
  assert.ok(bias !== undefined);
  const data = new Uint8Array(bias.data);
  data[0] = at(data, 0) ^ 1; // the last bit of one number
  const other = join(folder, 'other.pth');
  await writeCheckpoint(other, { model: new Map([...weights, [name, { ...bias, data }]]) });
  assert.notEqual(await open(other), blip.fingerprint);

  const trained = await Retriever.open(other, { device });
  const sentence =
    /^The index .*photos\.index was made with .*rule_tiny\.pth, and the retriever has .*other\.pth, another model: .* Open .*rule_tiny\.pth, or make an index with createIndex\.$/;
  await assert.rejects(trained.openIndex(index.name), says(sentence));
  await assert.rejects(trained.createIndex(photos), says(sentence));
  await trained.close();
});

test('openIndex opens what createIndex made; createIndex again only syncs', async () => {
  const opened = await blip.openIndex(index.name);
  assert.equal(opened.size, index.size);
  await opened.close();
  const told: number[] = [];
  const again = await blip.createIndex(`${photos}/`, { onProgress: (_, total) => told.push(total) });
  assert.ok(
    told.every((total) => total <= 1),
    'one file was touched by a test above',
  );
  assert.equal(again.size, index.size);
  await again.close();
  await assert.rejects(
    blip.createIndex(photos, { include: '*.png' }),
    says(/is something else|is of something else \(all images, not \*\.png\)/),
  );
  await assert.rejects(blip.createIndex(photos, { keepTokens: true }), says(/\(without tokens, not with tokens\)/));
  await assert.rejects(blip.createIndex(tinyData, { output: index.name }), says(/is of something else/));
  await assert.rejects(blip.openIndex(join(folder, 'absent')), says(/^There is no index at /));
});

test('a closed index and a closed retriever say so', async () => {
  const own = await Retriever.open(checkpoint, { device });
  const opened = await own.openIndex(index.name);
  const other = await own.openIndex(index.name);
  await opened.close();
  await opened.close();
  await assert.rejects(opened.search('a'), says(/^The index is closed\. Open it again with openIndex\.$/));
  await assert.rejects(opened.get('a'), says(/^The index is closed/));
  const running = other.search('a cat', { rerank: 24 });
  await Promise.all([own.close(), assert.rejects(running, says(/^The retriever was closed before the call was done/))]);
  await assert.rejects(other.search('a'), says(/^The retriever is closed/));
  await other.close();
});

test('a signal ends a search, an indexing and a sync', async () => {
  const reason = new Error('stopped');
  const signal = AbortSignal.abort(reason);
  await assert.rejects(index.search('a', { signal }), reason);
  await assert.rejects(index.sync({ signal }), reason);
  await assert.rejects(blip.openIndex(index.name, { signal }), reason);
  const stop = new AbortController();
  const output = join(folder, 'stopped.index');
  const onProgress = (done: number) => {
    if (done > 0) stop.abort(reason);
  };
  const slow = await Retriever.open(checkpoint, { device, batchSize: 2 }); // a GPU takes them all at once
  await assert.rejects(slow.createIndex(photos, { output, onProgress, signal: stop.signal }), reason);
  await slow.close();
  assert.ok(existsSync(join(output, 'manifest.json')));
  const done = await blip.createIndex(photos, { output });
  assert.equal(done.size, rows.length);
  await done.close();
  assert.equal(blip.pending, 0);
});

test('searches come between the batches of an indexing', async () => {
  const order: string[] = [];
  const output = join(folder, 'busy.index');
  const small = await Retriever.open(checkpoint, { device, batchSize: 1 });
  const opened = await small.openIndex(index.name);
  let search: Promise<Hit[]> | undefined;
  const onProgress = (done: number) => {
    order.push(String(done));
    if (done === 2) search = opened.search('a cat').finally(() => order.push('hits'));
  };
  const made = await small.createIndex(photos, { output, onProgress });
  assert.equal((await search)?.length, 10);
  assert.ok(order.indexOf('hits') - order.indexOf('2') < 12, order.join(' '));
  await Promise.all([made.close(), opened.close()]);
  await small.close();
});

test('images are filtered, added and removed', async () => {
  const output = join(folder, 'changed.index');
  const own = await blip.createIndex(photos, { output, include: ['**/*.jpg'] });
  const all = await own.search('a cat', { top: 100 });
  const ids = new Set(all.slice(0, 5).map(({ id }) => id));
  const filter = ({ id }: { id: string }) => !ids.has(id);
  assert.deepEqual(await own.search('a cat', { top: 100, filter }), all.slice(5));
  assert.equal(await own.remove([...ids, 'absent']), 5);
  assert.deepEqual(await own.search('a cat', { top: 100 }), all.slice(5));
  const bytes = readFileSync(join(photos, at(rows, 0).image));
  assert.deepEqual(await own.add([{ id: 'mine', image: bytes }]), { added: 1, changed: 0, bad: [] });
  const [mine] = await own.search({ id: 'mine' }, { top: 1 });
  assert.ok(mine !== undefined);
  near(mine.similarity, 1);
  const bad = { id: 'bad', image: Buffer.from('no image') };
  await assert.rejects(own.add([bad]), says(/is not a JPEG.* Or set `onBadImage` to 'skip'/));
  const report = await own.add([bad, join(photos, at(rows, 1).image)], { onBadImage: 'skip' });
  assert.deepEqual([report.added, report.bad.length, report.bad[0]?.id], [1, 1, 'bad']);
  await own.close();
});

// Wrong types are what a program in JavaScript gives.
const wrong: [what: string, call: () => Promise<unknown>, message: RegExp][] = [
  [
    'no query',
    () => Reflect.apply(index.search, index, []),
    /^The query is nothing\. Give a text, or an object with one of/,
  ],
  ['an empty query', () => Reflect.apply(index.search, index, [{}]), /^The query has nothing in it/],
  ['two queries', () => Reflect.apply(index.search, index, [{ text: 'a', id: 'b' }]), /has `text`, `id`\. Give/],
  ['a query of another kind', () => Reflect.apply(index.search, index, [{ texts: 'a' }]), /has no kind `texts`/],
  [
    'a text that is none',
    () => Reflect.apply(index.search, index, [{ text: 5 }]),
    /^`text` of the query is the number 5/,
  ],
  [
    'an image that is none',
    () => Reflect.apply(index.search, index, [{ image: 5 }]),
    /^`image` of the query is the number 5/,
  ],
  ['a short vector', () => index.search({ vector: new Float32Array(3) }), /has 3 numbers\. Give a Float32Array of 256/],
  ['a vector of nothing', () => index.search({ vector: new Float32Array(256) }), /has no direction/],
  ['a vector of NaN', () => index.search({ vector: new Float32Array(256).fill(Number.NaN) }), /has no direction/],
  ['a list for a vector', () => Reflect.apply(index.search, index, [{ vector: [1] }]), /is a list/],
  ['an id that is not there', () => index.search({ id: 'absent' }), /has no image "absent"\. Take the id of one/],
  [
    'top of 0',
    () => index.search('a', { top: 0 }),
    /^The option `top` of search is the number 0\. Give a whole number from 1/,
  ],
  ['rerank of an image', () => index.search({ id: at(rows, 0).image }, { rerank: 2 }), /^`rerank` needs a text/],
  ['a filter that is none', () => Reflect.apply(index.search, index, ['a', { filter: 1 }]), /`filter` of search/],
  ['where in a folder', () => index.search('a', { where: 'size > 1' }), /`where` is for an index in PostgreSQL/],
  [
    'an unknown option',
    () => index.search('a', { topk: 5 } as SearchOptions),
    /search has no option `topk`\. Did you mean `top`\?/,
  ],
  [
    'an add of no list',
    () => Reflect.apply(index.add, index, ['a.jpg']),
    /^`images` is the text 'a\.jpg'\. Give an array of paths/,
  ],
  ['an add of numbers', () => Reflect.apply(index.add, index, [[5]]), /^`images\[0\]` is the number 5/],
  [
    'an add without an id',
    () => Reflect.apply(index.add, index, [[{ image: 'a.jpg' }]]),
    /^`id` of `images\[0\]` is nothing/,
  ],
  [
    'a remove of numbers',
    () => Reflect.apply(index.remove, index, [[5]]),
    /^`ids\[0\]` is the number 5\. Give a text\.$/,
  ],
  [
    'a sync of an unknown option',
    () => Reflect.apply(index.sync, index, [{ onBadImages: 'skip' }]),
    /Did you mean `onBadImage`\?/,
  ],
  [
    'a wrong onBadImage',
    () => Reflect.apply(index.sync, index, [{ onBadImage: 'stop' }]),
    /Give 'skip', 'throw' or a function\.$/,
  ],
  ['no folder', () => Reflect.apply(blip.createIndex, blip, []), /^`folder` is nothing\. Give the path of a folder\.$/],
  ['an absent folder', () => blip.createIndex(join(folder, 'no photos')), /^The folder .*no photos is not there/],
  [
    'a store that is no address',
    () => blip.createIndex(photos, { store: 'mysql://x' }),
    /`store` of createIndex is the text/,
  ],
  [
    'output and store',
    () => blip.createIndex(photos, { store: 'postgres://x/y', output: 'z' }),
    /both `output` and `store`/,
  ],
  ['include of nothing', () => blip.createIndex(photos, { include: [] }), /`include` of createIndex is a list/],
  ['an index that is no text', () => Reflect.apply(blip.openIndex, blip, [5]), /^`index` is the number 5/],
];
for (const [what, call, message] of wrong)
  test(`${what}: refused by a sentence`, () => assert.rejects(async () => call(), says(message)));

test('a refused createIndex leaves no folder behind', () => {
  assert.ok(!existsSync(join(folder, 'no photos.index')));
});
