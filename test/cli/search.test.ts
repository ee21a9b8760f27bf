// `search` through the command line: by text and by image, as a table, JSON and a page; refusals.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { hitTable } from '#blip/commands/search.js';
import { testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyCheckpoint, tinyData } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const photos = join(folder, 'photos');
const cli = (...args: string[]) => runCli([...args, '--device', testDevice], { OMP_NUM_THREADS: '1' }, folder);
const search = (...args: string[]) => cli('search', 'photos.index', ...args);

before(async () => {
  cpSync(join(tinyData, 'images/test'), photos, { recursive: true });
  const made = await cli('index', 'photos', '--checkpoint', await tinyCheckpoint(folder));
  assert.equal(made.code, 0, made.stderr);
});

test('a table by text; re-ranking on a CPU says what it cost', async () => {
  const { code, stdout, stderr } = await search('two dogs', '-k', '3', '--rerank', '2');
  assert.equal(code, 0, stderr);
  const lines = stdout.trimEnd().split('\n');
  assert.equal(lines[0], 'rank  similarity  probability  path');
  assert.match(lines[1] ?? '', /^ {3}1 +-?[01]\.\d{4} +[01]\.\d{4} {2}photos\/test_\d+\.jpg$/);
  assert.match(lines[3] ?? '', /^ {3}3 +-?[01]\.\d{4} +- {2}photos\//);
  assert.equal(lines.length, 4);
  if (testDevice === 'cpu') assert.match(stderr, /^Re-ranking 2 images took \d+\.\d s on the CPU; .*--keep_tokens/);
});

test('an image that is there is an image, unless --text', async () => {
  const image = 'photos/test_000002.jpg';
  const found = await search(image, '--json');
  assert.match(found.stderr, /^photos\/test_000002\.jpg is a file: searching by this image\./);
  const { query, hits } = JSON.parse(found.stdout);
  assert.deepEqual([query, hits[0].rank, hits[0].id], [{ image }, 1, 'test_000002.jpg']);
  assert.deepEqual(JSON.parse((await search(image, '--text', '--json')).stdout).query, { text: image });
  const missing = await search('missing.jpg', '--json');
  assert.match(missing.stderr, /^There is no file missing\.jpg: it is taken as words\./);
  assert.deepEqual(JSON.parse(missing.stdout).query, { text: 'missing.jpg' });
});

test('a page with thumbnails needs nothing else, and shows no file that changed', async () => {
  const page = join(folder, 'page.html');
  const path = join(photos, 'test_000003.jpg');
  const bytes = readFileSync(path);
  writeFileSync(path, 'changed');
  try {
    const { code, stderr } = await search('<b>"dog"', '-k', '1000', '--html', page);
    assert.equal(code, 0, stderr);
  } finally {
    writeFileSync(path, bytes);
  }
  const html = readFileSync(page, 'utf8');
  assert.match(html, /<h1>“&lt;b>&quot;dog&quot;”<\/h1>/);
  assert.match(html, /<img src="data:image\/jpeg;base64,[\w+/=]+" alt="test_000002\.jpg">/);
  assert.equal(html.match(/The file has gone or has changed/g)?.length, 1);
  assert.doesNotMatch(html, /https?:|<script|url\(/);
});

test('wrong input is told in a sentence', async () => {
  mkdirSync(join(folder, 'broken.index'));
  writeFileSync(join(folder, 'broken.index/manifest.json'), '{');
  const cases: [args: string[], code: number, said: RegExp][] = [
    [['photos.index', ' '], 2, /The query is an empty text\. Give words, or the path of an image\./],
    [
      ['photos.index', 'x', '-k', '0'],
      2,
      /'-k, --top <n>' argument '0' is invalid\. Expected a whole number, 1 or more/,
    ],
    [['photos.index', 'x', '--image', '--text'], 2, /--image and --text contradict each other/],
    [['photos.index', 'photos/test_000002.jpg', '--rerank', '2'], 2, /--rerank needs a text/],
    [['photos.index', 'no.jpg', '--image'], 1, /The image no\.jpg does not exist/],
    [['photos', 'x'], 1, /There is no index at \S+photos\. Make one with `blip-retrieval index FOLDER`/],
    [['broken.index', 'x'], 1, /manifest\.json is damaged: it is no JSON/],
  ];
  for (const [args, code, said] of cases) {
    const result = await cli('search', ...args);
    assert.match(result.stderr, said);
    assert.equal(result.code, code, args.join(' '));
    assert.equal(result.stdout, '');
  }
});

test('a checkpoint that has gone is told with the flag that names another', async () => {
  const [from, to] = [join(folder, 'rule_tiny.pth'), join(folder, 'moved.pth')];
  cpSync(from, to);
  rmSync(from);
  const result = await search('x');
  cpSync(to, from);
  assert.equal(result.code, 1);
  assert.match(result.stderr, /The model of the index cannot be opened: .*rule_tiny\.pth.*name it with --checkpoint\./);
  assert.equal((await search('x', '--checkpoint', to)).code, 0);
});

test('the table keeps to the columns of a terminal and shows no control characters', () => {
  const hit = { id: 'x', path: `/${'long/'.repeat(30)}\u001b[2Jend.jpg`, similarity: -0.25, probability: 1 };
  const [, narrow = ''] = hitTable([hit], 60).split('\n');
  assert.equal(narrow.length, 60);
  assert.match(narrow, /^ {3}1 {5}-0\.2500 {7}1\.0000 {2}….*\\u001b\[2Jend\.jpg$/);
  assert.match(hitTable([hit], undefined), /\/long\/long/);
  assert.equal(hitTable([{ id: 'x', similarity: 1 }], 80).split('\n')[1], '   1      1.0000            -  x');
});
