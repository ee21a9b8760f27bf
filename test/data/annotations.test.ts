// Annotation files to images, texts and their links; what is accepted, and how absent files are fetched.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { ANNOTATION_URL, annotationFileName, loadRetrievalSplit, validateAnnotations } from '#blip/data/annotations.js';
import { preCaption } from '#blip/data/caption.js';
import { download } from '#blip/download/download.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

const folder = temporaryFolder();

const data = join(projectRoot, 'test/golden/rule_tiny/data');

test('a golden split is numbered as the reference numbers it', async () => {
  const split = await loadRetrievalSplit({
    annRoot: join(data, 'annotation'),
    imageRoot: join(data, 'images'),
    dataset: 'coco',
    split: 'test',
  });
  const rows: { image: string; caption: string[] }[] = JSON.parse(readFileSync(split.file, 'utf8'));
  assert.deepEqual(
    split.images,
    rows.map(({ image }) => join(data, 'images', image)),
  );
  assert.deepEqual(
    split.texts,
    rows.flatMap(({ caption }) => caption.map((text) => preCaption(text))),
  );
  assert.deepEqual(split.img2txt.flat(), [...split.texts.keys()]);
  for (const [image, texts] of split.img2txt.entries()) {
    assert.equal(texts.length, rows[image]?.caption.length);
    for (const text of texts) assert.equal(split.txt2img[text], image);
  }
});

/** A folder with one annotation file. */
function annRootWith(name: string, rows: unknown): string {
  const root = join(folder, `ann${Math.random()}`);
  mkdirSync(root);
  writeFileSync(join(root, name), JSON.stringify(rows));
  return root;
}

test('Flickr30k’s names, a caption that is a string, maxWords, and the same image twice', async () => {
  const annRoot = annRootWith('flickr30k_val.json', [
    { image: 'a.jpg', caption: 'One two three.' },
    { image: 'sub/../a.jpg', caption: ['Four'], extra: 1 },
  ]);
  const options = { annRoot, imageRoot: folder, dataset: 'flickr', split: 'val', maxWords: 2 } as const;
  const split = await loadRetrievalSplit(options);
  assert.deepEqual(split.texts, ['one two', 'four']);
  assert.deepEqual(split.images, [join(folder, 'a.jpg'), join(folder, 'a.jpg')]);
  assert.equal(split.notes.length, 1);
  assert.match(split.notes[0] ?? '', /flickr30k_val\.json: rows with the same image .* rows 1 and 2/);
});

test('a byte order mark is passed over', async () => {
  const annRoot = annRootWith('coco_karpathy_val.json', []);
  writeFileSync(join(annRoot, 'coco_karpathy_val.json'), '\ufeff[{"image": "a.jpg", "caption": ["b"]}]');
  const split = await loadRetrievalSplit({ annRoot, imageRoot: folder, dataset: 'coco', split: 'val' });
  assert.deepEqual(split.texts, ['b']);
});

test('train rows may have image ids of both kinds and come more than once', () => {
  const name = annotationFileName('coco', 'train');
  const annRoot = annRootWith(name, [
    { image: 'a.jpg', caption: 'b', image_id: 'coco_1' },
    { image: 'a.jpg', caption: 'c', image_id: 7 },
  ]);
  const found = validateAnnotations({ file: join(annRoot, name), imageRoot: folder, split: 'train' });
  assert.deepEqual([found.defects, found.notes], [[], []]);
  assert.deepEqual(
    found.rows.map(({ row, image, captions }) => [row, image, captions]),
    [
      [1, 'a.jpg', ['b']],
      [2, 'a.jpg', ['c']],
    ],
  );
});

test('an absent file is fetched by its address into ann_root, which is made', async () => {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(request.url ?? '');
    response.end('[{"image": "a.jpg", "caption": ["b"]}]');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  try {
    const annRoot = join(folder, 'new', 'annotation');
    const baseUrl = `http://127.0.0.1:${address.port}/datasets/`;
    const options = { annRoot, imageRoot: folder, dataset: 'coco', split: 'test', baseUrl, download } as const;
    assert.deepEqual((await loadRetrievalSplit(options)).texts, ['b']);
    assert.deepEqual((await loadRetrievalSplit(options)).texts, ['b']);
    assert.deepEqual(requests, ['/datasets/coco_karpathy_test.json']);
  } finally {
    server.close();
  }
});

test('the reference’s address is the one asked without a base URL', async () => {
  const urls: string[] = [];
  const fetchNothing = async (url: string, destination: string) => {
    urls.push(url);
    writeFileSync(destination, '[{"image": "a.jpg", "caption": ["b"]}]');
  };
  await loadRetrievalSplit({
    annRoot: join(folder, 'fetched'),
    imageRoot: folder,
    dataset: 'flickr',
    split: 'test',
    download: fetchNothing,
  });
  assert.deepEqual(urls, [`${ANNOTATION_URL}flickr30k_test.json`]);
});
