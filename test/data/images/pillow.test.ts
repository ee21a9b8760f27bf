// Images of every kind beside what Pillow made of them (golden/field, drawn by make_images.py), and files that are damaged
// at random: an image or a sentence, nothing else. Covers images/gif, gif-lzw, bmp, bmp-runs, ppm, png, tiff, vips.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeBmp } from '#blip/data/images/bmp.js';
import { decodeRgb } from '#blip/data/images/decode.js';
import { decodeGif } from '#blip/data/images/gif.js';
import { ImageDefect, type RgbImage, TooManyPixels, UnsupportedImage } from '#blip/data/images/limits.js';
import { decodePng, readPng } from '#blip/data/images/png.js';
import { decodePpm } from '#blip/data/images/ppm.js';
import { readTiffSamples } from '#blip/data/images/tiff.js';
import { UserError } from '#blip/errors.js';
import { noise, temporaryFolder } from '../../helpers/files.js';
import { projectRoot } from '../../helpers/fixtures.js';
import { readJson } from '../../helpers/tensors.js';

interface Expected {
  refused?: string;
  size?: [width: number, height: number];
  sha256?: string;
}

const folder = temporaryFolder();
const golden = join(projectRoot, 'test/golden/field');
const { images } = readJson<{ images: Record<string, Expected> }>(join(golden, 'images.json'));
const path = (name: string) => join(golden, 'images', name);

test('every golden image has its expected values', () => {
  assert.deepEqual(readdirSync(join(golden, 'images')).sort(), Object.keys(images).sort());
});

for (const [name, { refused, size, sha256 }] of Object.entries(images)) {
  if (refused !== undefined)
    test(`${name} is refused, as by Pillow`, async () => {
      await assert.rejects(decodeRgb(path(name)), (error) => {
        assert.ok(error instanceof UserError, String(error));
        assert.match(error.message, new RegExp(`^The image .*${name} (is|cannot) .*\\.$`));
        return true;
      });
    });
  else
    test(`${name} has Pillow's bytes`, async () => {
      const { data, width, height } = await decodeRgb(path(name));
      assert.deepEqual([width, height], size);
      assert.equal(createHash('sha256').update(data).digest('hex'), sha256);
    });
}

// ---------------------------------------------------------------- damaged at random

const decoders: [extensions: RegExp, decode: (bytes: Buffer) => unknown][] = [
  [/\.gif$/, (bytes) => decodeGif(bytes, 100_000)],
  [/\.bmp$/, (bytes) => decodeBmp(bytes, 100_000)],
  [/\.p[bgpf]m$/, (bytes) => decodePpm(bytes, 100_000)],
  [/\.png$/, (bytes) => decodePng(readPng(bytes, 100_000))],
  [/\.tif$/, (bytes) => readTiffSamples(bytes)],
];
const DAMAGES = 4000;

for (const [extensions, decode] of decoders)
  test(`${DAMAGES} damaged files ${extensions.source} give an image of the size that they name, or a reason`, async () => {
    const sources = Object.keys(images)
      .filter((name) => extensions.test(name))
      .map((name) => readFileSync(path(name)));
    const random = noise(DAMAGES * 16, 11);
    let decoded = 0;
    for (let n = 0; n < DAMAGES; n++) {
      const bytes = damaged(sources[n % sources.length] ?? Buffer.alloc(0), random.subarray(n * 16, n * 16 + 16));
      try {
        const image = await decode(bytes);
        if (isImage(image)) assert.equal(image.data.length, image.width * image.height * 3);
        decoded += 1;
      } catch (error) {
        const known = [ImageDefect, TooManyPixels, UnsupportedImage].some((kind) => error instanceof kind);
        assert.ok(known, `${error instanceof Error ? error.stack : error}\n${bytes.toString('base64')}`);
      }
    }
    assert.ok(decoded > 0 && decoded < DAMAGES, `${decoded} decoded`);
  });

const isImage = (value: unknown): value is RgbImage => typeof value === 'object' && value !== null && 'data' in value;

/** A copy with some bytes set, bytes put in or taken out, or cut off; half of the places are in the header. */
function damaged(source: Buffer, random: Uint8Array): Buffer {
  let bytes = Buffer.from(source);
  const [how = 0, count = 0, ...rest] = random;
  for (let i = 0; i < (count % 4) + 1; i++) {
    const [high = 0, low = 0, value = 0] = rest.slice(i * 3, i * 3 + 3);
    const span = value % 2 === 0 ? Math.min(64, bytes.length) : bytes.length;
    const at = (high * 256 + low) % Math.max(1, span);
    if (how < 160) bytes[at] = [0, 255, 128, 127, 1, value][high % 6] ?? value;
    else if (how < 190) bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([value, low]), bytes.subarray(at)]);
    else if (how < 220) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + (value % 4))]);
    else bytes = bytes.subarray(0, at + 1);
  }
  return bytes;
}

// ---------------------------------------------------------------- what is not read

const others: [what: string, bytes: Buffer | string][] = [
  ['a WMF image', '\xd7\xcd\xc6\x9a\0\0'],
  ['a JPEG 2000 image', '\0\0\0\x0cjP  \r\n\x87\n'],
  ['a JPEG XL image', '\xff\x0a\0\0'],
  ['an ICO image', '\0\0\x01\0\x01\0'],
  ['a HEIC image', '\0\0\0\x18ftypheic\0\0\0\0mif1heic'],
  ['an MP4 or QuickTime video', '\0\0\0\x18ftypisom\0\0\0\0isommp41'],
  ['a Photoshop image', '8BPS\0\x01'],
  ['an SVG image', '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'],
  ['an HTML page', '<!DOCTYPE html><html><body>404 Not Found</body></html>'],
  ['a PDF document', '%PDF-1.7\n'],
  ['a TGA image', `${'\0'.repeat(60)}TRUEVISION-XFILE.\0`],
];
for (const [what, text] of others)
  test(`${what} is named`, async () => {
    const file = join(folder, 'other.jpg');
    writeFileSync(file, Buffer.from(text.toString(), 'latin1'));
    await assert.rejects(decodeRgb(file), (error) => {
      assert.ok(error instanceof UserError);
      assert.ok(error.message.startsWith(`The image ${file} is ${what}, which cannot be read here`), error.message);
      return true;
    });
  });

test('a pointer of Git LFS is named, with the way to the file', async () => {
  const file = join(folder, 'lfs.jpg');
  writeFileSync(file, 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n');
  await assert.rejects(decodeRgb(file), /lfs\.jpg is a Git LFS pointer, not the image itself\. .*git lfs pull/);
});

test('a small file of a huge image is refused before memory is taken', async () => {
  const huge: Record<string, Buffer> = {
    'huge.gif': Buffer.from('GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02', 'latin1'),
    'huge.ppm': Buffer.from('P6 60000 60000 255\n'),
  };
  for (const [name, bytes] of Object.entries(huge)) {
    writeFileSync(join(folder, name), bytes);
    await assert.rejects(decodeRgb(join(folder, name)), /too large: \d+x\d+ pixels exceed the limit of 178956970/);
  }
});
