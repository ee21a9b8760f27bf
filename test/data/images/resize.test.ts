// image.node's bicubic resize: wrong use, Pillow's bytes, crops, and the order of the two passes.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeRgb } from '#blip/data/images/decode.js';
import { imageAddon } from '#blip/data/images/image-addon.js';
import { noise, readSafetensors } from '../../helpers/files.js';
import { absent, fixture } from '../../helpers/fixtures.js';

const { resizeBicubic } = imageAddon();

/** Resizes into memory of its own. */
function resized(data: Uint8Array, width: number, height: number, outWidth: number, outHeight: number, box?: number[]) {
  const result = new Uint8Array(outWidth * outHeight * 3);
  resizeBicubic(data, width, height, outWidth, outHeight, result, box);
  return result;
}

const pixel = new Uint8Array(3);
const wrong: [what: string, call: () => void, message: RegExp][] = [
  ['a size of 0', () => resizeBicubic(pixel, 0, 1, 1, 1, pixel), /expected an integer from 1 to 1048576 for width/],
  [
    'half a pixel',
    () => resizeBicubic(pixel, 1, 1, 1.5, 1, pixel),
    /expected an integer for outWidth but received the number 1\.5/,
  ],
  [
    'NaN',
    () => resizeBicubic(pixel, 1, 1, 1, Number.NaN, pixel),
    /expected an integer for outHeight but received the number nan/,
  ],
  [
    'a short source',
    () => resizeBicubic(pixel, 2, 1, 1, 1, pixel),
    /expected 6 bytes \(2x1 RGB\) for source but received 3/,
  ],
  [
    'a long destination',
    () => resizeBicubic(pixel, 1, 1, 1, 1, new Uint8Array(4)),
    /expected 3 bytes .* for destination/,
  ],
  [
    'a box outside',
    () => resizeBicubic(pixel, 1, 1, 1, 1, pixel, [0, 0, 2, 1]),
    /from 1 to 1 for box but received the number 2 at index 2/,
  ],
  [
    'a negative box',
    () => resizeBicubic(pixel, 1, 1, 1, 1, pixel, [0, -1, 1, 1]),
    /from 0 to 0 for box but received the number -1 at index 1/,
  ],
  [
    'a short box',
    () => resizeBicubic(pixel, 1, 1, 1, 1, pixel, [0, 0, 1]),
    /expected \[left, top, width, height\] for box but received 3 numbers/,
  ],
];
for (const [what, call, message] of wrong) {
  test(`refuses ${what}`, () => {
    assert.throws(call, (error) => error instanceof TypeError && message.test(error.message));
  });
}

test('refuses what is no Uint8Array', () => {
  const floats: unknown = new Float32Array(3);
  assert.throws(
    () => Reflect.apply(resizeBicubic, undefined, [floats, 1, 1, 1, 1, pixel]),
    /expected a Uint8Array for source/,
  );
});

test('every golden photograph has Pillow’s bytes', async (t) => {
  const path = fixture('resize_uint8.safetensors');
  if (path === undefined) return t.skip(absent('resize_uint8.safetensors'));
  const golden = readSafetensors(path);
  assert.ok(golden.size > 0);
  for (const [key, { shape, bytes }] of golden) {
    const [height = 0, width = 0] = shape;
    const file = fixture(key.slice(key.indexOf('/') + 1));
    assert.ok(file !== undefined, key);
    const image = await decodeRgb(file);
    assert.deepEqual(resized(image.data, image.width, image.height, width, height), bytes, key);
  }
});

test('golden crops have the bytes of Pillow’s crop and resize', async (t) => {
  const tensors = fixture('resized_crop.safetensors');
  const list = fixture('resized_crop.json');
  const photo = fixture('photos/astronaut.jpg');
  if (tensors === undefined || list === undefined || photo === undefined) return t.skip(absent('photos/astronaut.jpg'));
  const golden = readSafetensors(tensors);
  const crops: { key: string; image: string; top: number; left: number; height: number; width: number }[] = JSON.parse(
    readFileSync(list, 'utf8'),
  );
  for (const { key, image: name, top, left, height, width } of crops) {
    const image = await decodeRgb(join(photo, '../..', name));
    const result = resized(image.data, image.width, image.height, 96, 96, [left, top, width, height]);
    assert.deepEqual(result, golden.get(key)?.bytes, key);
  }
});

test('a crop does not see what is outside it', () => {
  const source = noise(40 * 30 * 3);
  const box = [7, 5, 20, 16] as const;
  const cut = new Uint8Array(20 * 16 * 3);
  for (let y = 0; y < 16; y++) cut.set(source.subarray(((y + 5) * 40 + 7) * 3, ((y + 5) * 40 + 27) * 3), y * 20 * 3);
  for (const [width, height] of [
    [9, 9],
    [33, 40],
    [20, 9],
    [9, 16],
    [20, 16],
  ] as const) {
    assert.deepEqual(resized(source, 40, 30, width, height, [...box]), resized(cut, 20, 16, width, height));
  }
});

test('one colour stays one colour, at every reduction', () => {
  for (const size of [1, 2, 7, 64, 200]) {
    const result = resized(new Uint8Array(37 * 53 * 3).fill(77), 37, 53, size, size);
    assert.ok(result.every((value) => value === 77));
  }
});

test('overshoot is clipped, not wrapped', () => {
  const edge = new Uint8Array(8 * 8 * 3).map((_, i) => (i % 24 < 12 ? 0 : 255));
  const result = resized(edge, 8, 8, 32, 8);
  for (let x = 0; x < 32 * 3; x++)
    assert.ok(x < 48 ? (result[x] ?? 0) < 200 : (result[x] ?? 0) > 55, `${x}: ${result[x]}`);
});

test('columns come first where the height shrinks by more than twice what the width does', () => {
  const rowsFirst = (s: Uint8Array, w: number, h: number, ow: number, oh: number) =>
    resized(resized(s, w, h, ow, h), ow, h, ow, oh);
  const columnsFirst = (s: Uint8Array, w: number, h: number, ow: number, oh: number) =>
    resized(resized(s, w, h, w, oh), w, oh, ow, oh);
  // What Pillow 13 was seen to do with these sizes.
  const cases = [
    [160, 120, 96, 96, rowsFirst],
    [120, 160, 96, 96, columnsFirst],
    [120, 144, 96, 96, rowsFirst],
    [120, 145, 96, 96, columnsFirst],
    [50, 70, 96, 96, rowsFirst],
    [90, 100, 120, 50, columnsFirst],
  ] as const;
  for (const [width, height, outWidth, outHeight, expected] of cases) {
    const source = noise(width * height * 3);
    const other = expected === rowsFirst ? columnsFirst : rowsFirst;
    const result = resized(source, width, height, outWidth, outHeight);
    assert.deepEqual(result, expected(source, width, height, outWidth, outHeight), `${width}x${height}`);
    assert.notDeepEqual(result, other(source, width, height, outWidth, outHeight), `${width}x${height}`);
  }
});

test('writes into shared memory and reads from part of an array', () => {
  const source = noise(2 + 30 * 20 * 3);
  const shared = new Uint8Array(new SharedArrayBuffer(16 * 16 * 3 + 5), 5);
  resizeBicubic(source.subarray(2), 30, 20, 16, 16, shared);
  assert.deepEqual(Uint8Array.from(shared), resized(Uint8Array.from(source.subarray(2)), 30, 20, 16, 16));
});
