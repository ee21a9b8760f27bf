// Which files of a folder belong to its index.
// Covers index/folder-images.
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { folderImages } from '#blip/index/folder-images.js';
import { temporaryFolder } from '../helpers/files.js';

const root = temporaryFolder();
const folder = join(root, 'photos');
const files = [
  ...[
    'b.jpg',
    'a.JPG',
    'c.webp',
    'notes.txt',
    'no-ending',
    '.hidden.jpg',
    'in/d.png',
    'in/deep/e.jpeg',
    'in/deep/f.JPEG',
  ],
  ...['.cache/g.jpg', 'raw/h.jpg', 'ü [1].jpg', 'i.heic', 'brackets/(j).gif'],
];

before(() => {
  for (const file of files) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), file);
  }
  writeFileSync(join(root, 'outside.jpg'), 'outside');
  symlinkSync(join(root, 'outside.jpg'), join(folder, 'link-out.jpg'));
  symlinkSync('b.jpg', join(folder, 'link-in.jpg'));
  symlinkSync('nowhere.jpg', join(folder, 'link-broken.jpg'));
  symlinkSync('.', join(folder, 'loop'));
  symlinkSync(root, join(folder, 'up'));
});

async function list(include?: readonly string[], of = folder) {
  const found: string[] = [];
  const bad: string[] = [];
  for await (const image of folderImages(of, include)) {
    if ('reason' in image) bad.push(image.reason);
    else found.push(image.id);
  }
  return { found, bad };
}

test('all images by their endings, in order; hidden files, links to folders and links that lead out are passed over', async () => {
  const { found, bad } = await list();
  assert.deepEqual(found, [
    ...['a.JPG', 'b.jpg', 'brackets/(j).gif', 'c.webp', 'in/d.png', 'in/deep/e.jpeg', 'in/deep/f.JPEG'],
    ...['link-in.jpg', 'raw/h.jpg', 'ü [1].jpg'],
  ]);
  assert.equal(bad.length, 1);
  assert.match(bad[0] ?? '', /^The image .*link-broken\.jpg cannot be read \(ENOENT.*\)\. Check the file\.$/);
});

test('a folder that is reached by a link is listed', async () => {
  symlinkSync(folder, join(root, 'linked'));
  assert.equal((await list(undefined, join(root, 'linked'))).found.length, 10);
});

const patterns: [include: string[], found: string[]][] = [
  [['*.jpg'], ['b.jpg', 'link-in.jpg', 'ü [1].jpg']],
  [
    ['**/*.jpg', '!raw/**'],
    ['b.jpg', 'link-in.jpg', 'ü [1].jpg'],
  ],
  [['!**/*.jpg'], ['a.JPG', 'brackets/(j).gif', 'c.webp', 'in/d.png', 'in/deep/e.jpeg', 'in/deep/f.JPEG']],
  [['in/**'], ['in/d.png', 'in/deep/e.jpeg', 'in/deep/f.JPEG']],
  [
    ['./in/*.png', 'no-ending'],
    ['in/d.png', 'no-ending'],
  ],
  [['**/*.{png,gif}'], ['brackets/(j).gif', 'in/d.png']],
  [['nothing'], []],
];
for (const [include, expected] of patterns)
  test(`${include.join(' ')} chooses ${expected.length} files`, async () => {
    assert.deepEqual((await list(include)).found, expected);
  });

test('what is no folder is refused by a sentence', async () => {
  const says = (path: string, message: RegExp) =>
    assert.rejects(
      list(undefined, join(root, path)),
      (error) => error instanceof UserError && message.test(error.message),
    );
  await says('absent', /^The folder .*absent is not there \(ENOENT/);
  await says('outside.jpg', /outside\.jpg is a file\. Give the folder that it is in/);
});
