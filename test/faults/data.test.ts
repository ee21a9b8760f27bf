// Every defect of vocabulary, annotations and images that a user may meet, with the sentence that says so.
// Covers data/annotations, json-position, vocabulary, images/decode, loader.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import sharp from 'sharp';
import { loadRetrievalSplit, type Split, validateAnnotations } from '#blip/data/annotations.js';
import { decodeRgb } from '#blip/data/images/decode.js';
import { ImageLoader } from '#blip/data/loader/loader.js';
import { requireImages } from '#blip/data/require-images.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { bertVocabulary } from '#blip/data/vocabulary.js';
import { UserError } from '#blip/errors.js';
import { flatPng, noise, png, temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

// Made before the first test: a wait between tests would end the file's life early.
const photo = sharp(noise(64 * 48 * 3), { raw: { width: 64, height: 48, channels: 3 } });
const jpeg = await photo.clone().jpeg().toBuffer();
const gif = await photo.clone().gif().toBuffer();
const webp = await photo.clone().webp().toBuffer();

function says(...parts: (string | RegExp)[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof UserError, String(error));
    for (const part of parts) {
      assert.ok(typeof part === 'string' ? error.message.includes(part) : part.test(error.message), error.message);
    }
    assert.ok(!error.message.includes('\n'), 'one sentence');
    return true;
  };
}

// ---------------------------------------------------------------- vocabulary

const tokens = bertVocabulary();
const vocabularies: [what: string, text: string | Uint8Array, message: string][] = [
  ['too short', tokens.slice(0, 100).join('\n'), 'has 100 lines. Give the vocab.txt of bert-base-uncased'],
  ['empty', '', 'has 1 lines'],
  ['without [SEP]', tokens.with(102, '[SEPP]').join('\n'), 'lacks [SEP]'],
  ['[PAD] elsewhere', tokens.with(0, '[UNK]').with(100, '[PAD]').join('\n'), 'does not start with [PAD]'],
  ['a token twice', tokens.with(5000, 'the').join('\n'), 'has the same token in lines 1997 and 5001'],
  ['not UTF-8', Uint8Array.from([0xff, 0xfe, 0x41]), 'cannot be read'],
];
for (const [what, text, message] of vocabularies) {
  test(`a vocabulary that is ${what}`, () => {
    const path = join(folder, 'vocab.txt');
    writeFileSync(path, text);
    assert.throws(() => Tokenizer.load({ vocabFile: path }), says(path, message));
  });
}

test('a vocabulary that is absent', () => {
  const vocabFile = join(folder, 'nowhere.txt');
  assert.throws(() => Tokenizer.load({ vocabFile }), says(vocabFile, 'does not exist'));
});

// ---------------------------------------------------------------- annotations

const good = '{"image": "a.jpg", "caption": ["b"]}';
const trainGood = '{"image": "a.jpg", "caption": "b", "image_id": 1}';
const rowDefects: [split: Split, text: string | Uint8Array, message: RegExp][] = [
  ['val', '', /coco_karpathy_val\.json is empty\.$/],
  ['val', `[${good},\n  ${good}\n  ${good}]`, /is broken JSON at line 3, column 3\.$/],
  ['val', '<html>404</html>', /is broken JSON at line 1, column 1\.$/],
  ['val', Uint8Array.from([0x5b, 0xff, 0x5d]), /is not in UTF-8\.$/],
  ['val', '{}', /expected a list of rows but received an object\.$/],
  ['val', '{"images": []}', /has no images of the split val\.$/],
  [
    'val',
    '{"data": [], "version": 1}',
    /expected a list of rows, JSON Lines, Karpathy's .* but received an object with the fields data and version\.$/,
  ],
  ['val', '[{"img": "a.jpg", "text": "b"}]', /row 1: expected the fields image and caption but found img and text\.$/],
  ['val', Uint8Array.from([0xff, 0xfe, 0x5b, 0]), /is not in UTF-8 but in UTF-16\. Save it as UTF-8\.$/],
  ['val', '[]', /has no rows\.$/],
  ['val', `[${good}, 3]`, /row 2: expected an object but received number 3\.$/],
  ['val', '[null]', /row 1: expected an object but received null\.$/],
  ['val', '[{"caption": ["b"]}]', /row 1: field image is missing\.$/],
  [
    'val',
    '[{"image": 7, "caption": ["b"]}]',
    /row 1: expected the path of an image for field image but received number 7\.$/,
  ],
  ['val', '[{"image": "", "caption": ["b"]}]', /for field image but received an empty string\.$/],
  ['val', '[{"image": "a\\u0000b", "caption": ["b"]}]', /row 1: field image has a NUL character/],
  ['val', '[{"image": "/etc/passwd", "caption": ["b"]}]', /row 1: field image "\/etc\/passwd" leaves image_root/],
  ['val', '[{"image": "../a.jpg", "caption": ["b"]}]', /row 1: field image "\.\.\/a\.jpg" leaves image_root/],
  [
    'val',
    '[{"image": "x/../../a.jpg", "caption": ["b"]}]',
    /leaves image_root\. Write it relative to that folder, or set `allowOutsideImages`\.$/,
  ],
  ['val', '[{"image": "a.jpg"}]', /row 1: field caption is missing\.$/],
  [
    'val',
    '[{"image": "a.jpg", "caption": {}}]',
    /expected a list of strings for field caption but received an object\.$/,
  ],
  [
    'val',
    '[{"image": "a.jpg", "caption": ["b", 2]}]',
    /row 1: expected a string for field caption\[1\] but received number 2\.$/,
  ],
  ['train', '[{"image": "a.jpg", "caption": "b"}]', /row 1: field image_id is missing\.$/],
  [
    'train',
    '[{"image": "a.jpg", "caption": "b", "image_id": 1.5}]',
    /a string or a whole number for field image_id but received number 1\.5\.$/,
  ],
  [
    'train',
    '[{"image": "a.jpg", "caption": "b", "image_id": ""}]',
    /for field image_id but received an empty string\.$/,
  ],
  [
    'train',
    '[{"image": "a.jpg", "caption": ["b"], "image_id": 1}]',
    /expected a string for field caption but received a list\.$/,
  ],
  ['train', `[${trainGood}, {"image": "a.jpg", "caption": null, "image_id": 1}]`, /row 2: .* received null\.$/],
];
for (const [split, text, message] of rowDefects) {
  test(`${split} rows ${JSON.stringify(String(text).slice(0, 60))}`, async () => {
    const file = join(folder, `coco_karpathy_${split}.json`);
    writeFileSync(file, text);
    const { defects } = validateAnnotations({ file, imageRoot: folder, split });
    assert.equal(defects.length, 1, defects.join('\n'));
    assert.match(defects[0] ?? '', message);
    assert.ok(defects[0]?.startsWith(file));
    if (split === 'train') return;
    const load = loadRetrievalSplit({ annRoot: folder, imageRoot: folder, dataset: 'coco', split });
    await assert.rejects(load, says(defects[0] ?? '', / Correct the file; "check-data" lists every defect\.$/));
  });
}

const empties: [split: Split, text: string, message: RegExp][] = [
  ['val', '[{"image": "a.jpg", "caption": []}]', /row 1: field caption is an empty list/],
  ['val', '[{"image": "a.jpg", "caption": ["b", ""]}]', /row 1: field caption\[1\] is empty\.$/],
  [
    'val',
    '[{"image": "a.jpg", "caption": " ...!\\n"}]',
    /row 1: field caption has no words: nothing is left of " \.\.\.!\\n" after/,
  ],
  ['train', `[${trainGood}, {"image": "a.jpg", "caption": "", "image_id": 1}]`, /row 2: field caption is empty\.$/],
];
for (const [split, text, message] of empties) {
  test(`${split} rows that are used as the reference uses them ${text}`, () => {
    const file = join(folder, `coco_karpathy_${split}.json`);
    writeFileSync(file, text);
    const { defects, empty } = validateAnnotations({ file, imageRoot: folder, split });
    assert.deepEqual(defects, []);
    assert.equal(empty.length, 1);
    assert.match(empty[0] ?? '', message);
  });
}

test('all defects are found, and the first is thrown with their number', async () => {
  const file = join(folder, 'coco_karpathy_test.json');
  writeFileSync(file, `[{"image": 1}, ${good}, {"image": "/a", "caption": [1, null]}]`);
  const { defects, rows } = validateAnnotations({ file, imageRoot: folder, split: 'test' });
  assert.equal(defects.length, 5);
  assert.deepEqual(
    rows.map(({ row }) => row),
    [2],
  );
  const load = loadRetrievalSplit({ annRoot: folder, imageRoot: folder, dataset: 'coco', split: 'test' });
  await assert.rejects(load, says(defects[0] ?? '', 'the first of 5 defects in this file'));
});

test('an annotation file that is absent and may not be fetched', async () => {
  const load = loadRetrievalSplit({ annRoot: folder, imageRoot: folder, dataset: 'flickr', split: 'val' });
  await assert.rejects(load, says('flickr30k_val.json does not exist', '. Put it there, or correct ann_root.'));
});

test('an annotation file that is a folder', () => {
  const file = join(folder, 'folder.json');
  mkdirSync(file);
  assert.match(
    validateAnnotations({ file, imageRoot: folder, split: 'val' }).defects[0] ?? '',
    /folder\.json cannot be read \(/,
  );
});

test('ann_root that cannot be made', async () => {
  const taken = join(folder, 'a file');
  writeFileSync(taken, '');
  const load = loadRetrievalSplit({
    annRoot: join(taken, 'annotation'),
    imageRoot: folder,
    dataset: 'coco',
    split: 'val',
    download: () => Promise.reject(new Error('not reached')),
  });
  await assert.rejects(load, says('The folder ann_root', 'cannot be made'));
});

for (const [what, name] of [
  ['does not exist', 'nowhere'],
  ['is not a folder', 'coco_karpathy_val.json'],
] as const) {
  test(`image_root that ${what}`, async () => {
    writeFileSync(join(folder, 'coco_karpathy_val.json'), `[${good}]`);
    const imageRoot = join(folder, name);
    const load = loadRetrievalSplit({ annRoot: folder, imageRoot, dataset: 'coco', split: 'val' });
    await assert.rejects(load, says(`The folder image_root ${imageRoot} ${what}`));
  });
}

// ---------------------------------------------------------------- images

const small = flatPng(64, 48, [1, 2, 3]);
const damagedPng = png({ width: 64, height: 48, colourType: 2, samples: noise(64 * 48 * 3) });
damagedPng.writeUInt8((damagedPng[2000] ?? 0) ^ 0xff, 2000);
const huge = Buffer.from(small);
huge.writeUInt32BE(20000, 16);
huge.writeUInt32BE(20000, 20);

/** A TIFF file of one pixel, a float. */
function floatTiff(): Buffer {
  const tags = [
    [256, 1],
    [257, 1],
    [258, 32],
    [259, 1],
    [262, 1],
    [273, 134],
    [277, 1],
    [278, 1],
    [279, 4],
    [339, 3],
  ] as const;
  const file = Buffer.alloc(138);
  file.write('II*\0', 0, 'latin1');
  file.writeUInt32LE(8, 4);
  file.writeUInt16LE(tags.length, 8);
  for (const [index, [tag, value]] of tags.entries()) {
    file.writeUInt16LE(tag, 10 + index * 12);
    file.writeUInt16LE(4, 12 + index * 12); // type LONG
    file.writeUInt32LE(1, 14 + index * 12);
    file.writeUInt32LE(value, 18 + index * 12);
  }
  file.writeFloatLE(0.5, 134);
  return file;
}

const images: [what: string, bytes: Uint8Array, message: RegExp][] = [
  ['empty', Buffer.alloc(0), /is empty\. Replace it/],
  ['a page of HTML', Buffer.from('<html>404</html>'), /is an HTML page, which cannot be read here.*\. Replace it/],
  ['an SVG drawing', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), /is an SVG image, which cannot/],
  [
    'half a JPEG',
    jpeg.subarray(0, jpeg.length / 2),
    /is truncated or damaged \(VipsJpeg: premature end of JPEG image\)/,
  ],
  ['a JPEG without its last bytes', jpeg.subarray(0, -20), /is truncated or damaged/],
  ['the beginning of a JPEG', jpeg.subarray(0, 30), /is truncated or damaged/],
  ['half a PNG', damagedPng.subarray(0, 1000), /is truncated or damaged/],
  ['a PNG with a wrong byte', damagedPng, /is truncated or damaged \(/],
  ['a PNG of nothing but a header', small.subarray(0, 40), /is truncated or damaged/],
  ['half a GIF', gif.subarray(0, gif.length / 2), /is truncated or damaged/],
  ['half a WebP', webp.subarray(0, webp.length / 2), /is truncated or damaged/],
  [
    'a TIFF of floats',
    floatTiff(),
    /cannot be decoded \(TIFF samples of type float, which must be converted to 8 bits first\)/,
  ],
  ['too large', huge, /is too large: 20000x20000 pixels exceed the limit of 178956970\. Make it smaller/],
];
for (const [index, [what, bytes, message]] of images.entries()) {
  test(`an image that is ${what}, decoded and in the loader`, async () => {
    const path = join(folder, `image${index}.jpg`);
    writeFileSync(path, bytes);
    await assert.rejects(decodeRgb(path), says(`The image ${path} `, message));
    const loader = new ImageLoader({ paths: [path], size: 8, batchSize: 1, workers: 1 });
    assert.throws(() => loader.next(), says(`The image ${path} `, message));
  });
}

test('an image above a limit of the caller', async () => {
  const path = join(folder, 'limited.png');
  writeFileSync(path, small);
  await assert.rejects(decodeRgb(path, { maxPixels: 3000 }), says('64x48 pixels exceed the limit of 3000'));
  assert.equal((await decodeRgb(path, { maxPixels: 64 * 48 })).width, 64);
});

test('an image that is something else than a file, which is not waited for', async () => {
  const place = (name: string) => join(folder, name);
  execFileSync('mkfifo', [place('pipe.jpg')]);
  symlinkSync(place('loop.jpg'), place('loop.jpg'));
  symlinkSync('/dev/zero', place('device.jpg'));
  mkdirSync(place('folder.jpg'));
  writeFileSync(place('file.jpg'), jpeg);
  const kinds = {
    'pipe.jpg': 'cannot be read (it is a pipe, not a file). Correct image_root or the annotation.',
    'loop.jpg': 'cannot be read (it is a symbolic link that leads to itself). Correct',
    'device.jpg': 'cannot be read (it is a device, not a file). Correct',
    'folder.jpg': 'cannot be read (it is a folder, not a file). Correct',
    'file.jpg/within.jpg': 'does not exist. Correct',
  };
  for (const [name, what] of Object.entries(kinds))
    await assert.rejects(decodeRgb(place(name)), says(`The image ${place(name)} ${what}`));
});

test('an image that is absent or a folder', async () => {
  const absent = join(folder, 'absent.jpg');
  await assert.rejects(
    decodeRgb(absent),
    says(`The image ${absent} does not exist. Correct image_root or the annotation.`),
  );
  await assert.rejects(decodeRgb(folder), says(`The image ${folder} cannot be read (`));
});

test('an image that may not be read', async () => {
  const path = join(folder, 'secret.jpg');
  writeFileSync(path, jpeg);
  chmodSync(path, 0);
  chmodSync(folder, 0o755);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534); // root may read every file
  try {
    await assert.rejects(decodeRgb(path), says(`The image ${path} cannot be read (no permission). Correct`));
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
  if (isRoot) return; // the check before a run asks for the user behind, too
  assert.throws(
    () => requireImages([path], 'the val split'),
    says(`1 of the 1 images of the val split may not be read; the first is ${path}. Correct image_root`),
  );
});
