// Decoding as Pillow's convert('RGB') does, encoding by encoding, and the evaluation transform against the goldens.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import sharp from 'sharp';
import { decodeRgb } from '#blip/data/images/decode.js';
import { evaluationTransform } from '#blip/data/images/evaluation-transform.js';
import { IMAGE_MEAN, IMAGE_STD, MEAN_PIXEL, normalizePixels } from '#blip/data/images/normalization.js';
import { noise, type PngOptions, png, readSafetensors, temporaryFolder } from '../../helpers/files.js';
import { absent, fixture, projectRoot } from '../../helpers/fixtures.js';

const { folder, remove } = temporaryFolder();
after(remove);

function write(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const width = 5;
const height = 4;
const pixels = width * height;

async function decodedPng(options: Omit<PngOptions, 'width' | 'height'>): Promise<number[]> {
  const image = await decodeRgb(write('image.png', png({ width, height, ...options })));
  assert.deepEqual([image.width, image.height], [width, height]);
  return [...image.data];
}

/** What `pick` makes of every `count` samples. */
function channels(samples: Uint8Array, count: number, pick: (pixel: Uint8Array) => number[]): number[] {
  return Array.from({ length: samples.length / count }, (_, i) =>
    pick(samples.subarray(i * count, (i + 1) * count)),
  ).flat();
}

test('RGB, grey, and both with alpha, which is dropped and not blended', async () => {
  const samples = noise(pixels * 12);
  assert.deepEqual(await decodedPng({ colourType: 2, samples: samples.subarray(0, pixels * 3) }), [
    ...samples.subarray(0, pixels * 3),
  ]);
  const grey = samples.subarray(0, pixels);
  assert.deepEqual(
    await decodedPng({ colourType: 0, samples: grey }),
    channels(grey, 1, ([g = 0]) => [g, g, g]),
  );
  const greyAlpha = samples.subarray(0, pixels * 2);
  assert.deepEqual(
    await decodedPng({ colourType: 4, samples: greyAlpha }),
    channels(greyAlpha, 2, ([g = 0]) => [g, g, g]),
  );
  const rgba = samples.subarray(0, pixels * 4);
  assert.deepEqual(
    await decodedPng({ colourType: 6, samples: rgba }),
    channels(rgba, 4, ([r = 0, g = 0, b = 0]) => [r, g, b]),
  );
});

test('a palette gives its colours, also where it has transparency', async () => {
  const palette = noise(768, 5);
  const samples = noise(pixels, 9);
  const expected = [...samples].flatMap((index) => [...palette.subarray(index * 3, index * 3 + 3)]);
  const PLTE: [string, Uint8Array] = ['PLTE', palette];
  assert.deepEqual(await decodedPng({ colourType: 3, samples, chunks: [PLTE] }), expected);
  assert.deepEqual(await decodedPng({ colourType: 3, samples, chunks: [PLTE, ['tRNS', noise(256, 3)]] }), expected);
});

test('16-bit colour keeps its upper bytes, 16-bit grey is cut at 255', async () => {
  const colour = noise(pixels * 6);
  assert.deepEqual(
    await decodedPng({ colourType: 2, depth: 16, samples: colour }),
    channels(colour, 6, ([r = 0, , g = 0, , b = 0]) => [r, g, b]),
  );
  const grey = Uint8Array.from({ length: pixels * 2 }, (_, i) => (i % 2 === 0 ? Number(i % 3 === 0) : i * 3));
  assert.deepEqual(
    await decodedPng({ colourType: 0, depth: 16, samples: grey }),
    channels(grey, 2, ([high = 0, low = 0]) => Array<number>(3).fill(high > 0 ? 255 : low)),
  );
});

test('a gamma chunk changes nothing', async () => {
  const samples = noise(pixels * 3);
  const gAMA: [string, Uint8Array] = ['gAMA', Uint8Array.from([0, 1, 0x86, 0xa0])];
  assert.deepEqual(await decodedPng({ colourType: 2, samples, chunks: [gAMA] }), [...samples]);
});

// An 8x8 JPEG of one colour that Pillow 12 wrote from CMYK (10, 200, 128, 51) and reads as RGB (196, 44, 102).
const CMYK_JPEG =
  '/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoKCgYICwwLCgwJCgoK' +
  '/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNR' +
  'YQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeY' +
  'mZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwD91K/Nuo6/TCv/2Q==';

test('a CMYK JPEG is converted by Pillow’s formula', async () => {
  const image = await decodeRgb(write('cmyk.jpg', Buffer.from(CMYK_JPEG, 'base64')));
  assert.equal(image.data.length, 8 * 8 * 3);
  for (let i = 0; i < image.data.length; i += 3) assert.deepEqual([...image.data.subarray(i, i + 3)], [196, 44, 102]);
});

test('EXIF does not turn an image, and a colour profile is not applied', async () => {
  const plain = sharp(noise(24 * 16 * 3), { raw: { width: 24, height: 16, channels: 3 } }).jpeg({ quality: 90 });
  const upright = await decodeRgb(write('plain.jpg', await plain.clone().toBuffer()));
  const turned = await decodeRgb(write('turned.jpg', await plain.clone().withMetadata({ orientation: 6 }).toBuffer()));
  assert.deepEqual([turned.width, turned.height], [24, 16]);
  assert.deepEqual(turned.data, upright.data);
  const profiled = await sharp(noise(24 * 16 * 3), { raw: { width: 24, height: 16, channels: 3 } })
    .withIccProfile('p3')
    .png()
    .toBuffer();
  const stored = await sharp(profiled, { ignoreIcc: true }).raw().toBuffer();
  assert.ok((await sharp(profiled).metadata()).hasProfile);
  assert.deepEqual(Buffer.from((await decodeRgb(write('p3.png', profiled))).data), stored);
});

test('GIF, WebP and TIFF are read', async () => {
  const source = sharp(noise(6 * 4 * 3), { raw: { width: 6, height: 4, channels: 3 } });
  const lossless = {
    'a.webp': source.clone().webp({ lossless: true }),
    'a.tif': source.clone().tiff({ compression: 'lzw' }),
  };
  for (const [name, image] of Object.entries(lossless)) {
    assert.deepEqual([...(await decodeRgb(write(name, await image.toBuffer()))).data], [...noise(6 * 4 * 3)], name);
  }
  const gif = await decodeRgb(write('a.gif', await source.clone().gif().toBuffer()));
  assert.deepEqual([gif.width, gif.height, gif.data.length], [6, 4, 72]);
});

test('normalisation is ToTensor and Normalize in float32', () => {
  const result = normalizePixels(Uint8Array.from([0, 128, 255, 255, 0, 3]));
  assert.equal(result.length, 6);
  const at = (value: number, channel: 0 | 1 | 2) => (value / 255 - IMAGE_MEAN[channel]) / IMAGE_STD[channel];
  const wanted = [at(0, 0), at(255, 0), at(128, 1), at(0, 1), at(255, 2), at(3, 2)];
  for (const [index, value] of wanted.entries()) assert.ok(Math.abs((result[index] ?? 0) - value) < 1e-6);
  assert.deepEqual(MEAN_PIXEL, [123, 117, 104]);
});

/** Largest difference of the transform of `path` from a golden (3, size, size). */
async function difference(path: string, size: number, golden: Uint8Array): Promise<number> {
  const pixels = new Uint8Array(size * size * 3);
  evaluationTransform(await decodeRgb(path), size, pixels);
  const result = normalizePixels(pixels);
  const expected = new Float32Array(golden.buffer, golden.byteOffset, golden.length / 4);
  assert.equal(result.length, expected.length);
  return result.reduce((most, value, i) => Math.max(most, Math.abs(value - (expected[i] ?? Number.NaN))), 0);
}

test('the evaluation transform equals the images of the golden forward pass', async () => {
  const root = join(projectRoot, 'test/golden/rule_tiny');
  const { images }: { images: string[] } = JSON.parse(readFileSync(join(root, 'forward.json'), 'utf8'));
  const golden = readSafetensors(join(root, 'forward.safetensors')).get('images');
  assert.ok(golden !== undefined && images.length > 0);
  const bytes = golden.bytes.length / images.length;
  for (const [index, name] of images.entries()) {
    const expected = golden.bytes.slice(index * bytes, (index + 1) * bytes);
    assert.ok((await difference(join(root, name), 96, expected)) <= 1e-6, name);
  }
});

test('the evaluation transform equals the golden transforms', async (t) => {
  const path = fixture('test_transform.safetensors');
  if (path === undefined) return t.skip(absent('test_transform.safetensors'));
  for (const [name, { bytes }] of readSafetensors(path)) {
    const file = fixture(name);
    assert.ok(file !== undefined, name);
    assert.ok((await difference(file, 96, bytes)) <= 1e-6, name);
  }
});
