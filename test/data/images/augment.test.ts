// RandAugment's operations against the reference's bytes, and what is drawn how often.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type AugmentationName, augment, drawAugmentations } from '#blip/data/images/augment.js';
import { imageAddon } from '#blip/data/images/image-addon.js';
import { SampleRandom } from '#blip/data/images/philox.js';
import { noise, readSafetensors } from '../../helpers/files.js';
import { absent, fixture } from '../../helpers/fixtures.js';

interface Golden {
  cases: { key: string; op: AugmentationName; source: string; argument: number | null }[];
  magnitude_at_level_5: Record<string, [number]>;
}

test('every golden operation has the reference’s bytes', (t) => {
  const [tensors, list] = [fixture('augment.safetensors'), fixture('augment.json')];
  if (tensors === undefined || list === undefined) return t.skip(absent('augment.safetensors'));
  const golden = readSafetensors(tensors);
  const { cases }: Golden = JSON.parse(readFileSync(list, 'utf8'));
  assert.equal(new Set(cases.map(({ op }) => op)).size, 10);
  for (const { key, op, source, argument } of cases) {
    const { shape, bytes } = golden.get(source) ?? { shape: [], bytes: new Uint8Array() };
    const [height = 0, width = 0] = shape;
    const result = augment(Uint8Array.from(bytes), width, height, { name: op, argument: argument ?? 0 });
    assert.deepEqual(result, golden.get(key)?.bytes, key);
  }
});

const many = Array.from({ length: 20_000 }, (_, position) =>
  drawAugmentations(new SampleRandom({ seed: 42, epoch: 0, position })),
);

test('each of two draws is kept in half of the cases, and all ten operations come alike', () => {
  const counts = new Map<string, number>();
  for (const { name } of many.flat()) counts.set(name, (counts.get(name) ?? 0) + 1);
  assert.equal(counts.size, 10);
  // Expected 2000 each, six standard deviations are 262.
  for (const [name, count] of counts) assert.ok(Math.abs(count - 2000) < 262, `${name}: ${count}`);
  const lengths = [0, 1, 2].map((length) => many.filter((drawn) => drawn.length === length).length);
  const expected = [5000, 10_000, 5000];
  for (const [i, count] of lengths.entries()) {
    assert.ok(Math.abs(count - (expected[i] ?? 0)) < 425, `${i}: ${count}`);
  }
});

test('magnitudes are the golden ones, affine ones of both signs alike', (t) => {
  const list = fixture('augment.json');
  if (list === undefined) return t.skip(absent('augment.json'));
  const { magnitude_at_level_5: golden }: Golden = JSON.parse(readFileSync(list, 'utf8'));
  for (const [name, [magnitude]] of Object.entries(golden)) {
    const drawn = many.flat().filter((operation) => operation.name === name);
    const negative = drawn.filter(({ argument }) => argument < 0).length;
    for (const { argument } of drawn) assert.equal(Math.abs(argument), magnitude, name);
    const signed = name !== 'Brightness' && name !== 'Sharpness';
    assert.ok(signed ? Math.abs(negative - drawn.length / 2) < 150 : negative === 0, `${name}: ${negative}`);
  }
});

test('images of one pixel, one row and one column pass through everything', () => {
  for (const [width, height] of [
    [1, 1],
    [7, 1],
    [1, 7],
  ] as const) {
    for (const { name, argument } of new Set(many.slice(0, 200).flat())) {
      const result = augment(noise(width * height * 3), width, height, { name, argument });
      assert.equal(result.length, width * height * 3, name);
    }
  }
});

test('a shift by whole pixels moves them to the left and leaves grey behind', () => {
  const [width, height] = [9, 6];
  const source = noise(width * height * 3);
  const shifted = augment(Uint8Array.from(source), width, height, { name: 'TranslateX', argument: 5 });
  for (let y = 0; y < height; y++) {
    const row = [...source.subarray((y * width + 5) * 3, (y + 1) * width * 3)];
    const expected = [...row, ...Array<number>(15).fill(128)];
    assert.deepEqual([...shifted.subarray(y * width * 3, (y + 1) * width * 3)], expected);
  }
});

test('mirroring turns rows, twice gives the image back', () => {
  const pixels = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  imageAddon().mirrorRows(pixels, 3, 2);
  assert.deepEqual([...pixels], [7, 8, 9, 4, 5, 6, 1, 2, 3, 17, 18, 19, 14, 15, 16, 11, 12, 13]);
  const source = noise(8 * 5 * 3);
  const copy = Uint8Array.from(source);
  imageAddon().mirrorRows(copy, 8, 5);
  assert.notDeepEqual(copy, source);
  imageAddon().mirrorRows(copy, 8, 5);
  assert.deepEqual(copy, source);
});

test('histograms count each channel, and tables replace it', () => {
  const pixels = Uint8Array.from([0, 5, 255, 0, 6, 255, 1, 5, 254]);
  const counts = imageAddon().channelHistograms(pixels);
  const found = [...counts.entries()].filter(([, count]) => count > 0);
  assert.deepEqual(found, [
    [0, 2],
    [1, 1],
    [256 + 5, 2],
    [256 + 6, 1],
    [512 + 254, 1],
    [512 + 255, 2],
  ]);
  imageAddon().lookUp(
    pixels,
    Uint8Array.from({ length: 768 }, (_, i) => (i < 256 ? i + 9 : i < 512 ? 255 - i : i)),
  );
  assert.deepEqual([...pixels], [9, 250, 255, 9, 249, 255, 10, 250, 254]);
  assert.throws(
    () => imageAddon().lookUp(pixels, new Uint8Array(256)),
    /lookUp: expected 768 bytes for tables but received 256/,
  );
});

test('the addon refuses pixels of another size, a bad matrix, and a warp onto itself', () => {
  const { mirrorRows, warpAffine } = imageAddon();
  const pixels = new Uint8Array(12);
  const matrix = [1, 0, 0, 0, 1, 0];
  assert.throws(() => mirrorRows(pixels, 2, 3), /mirrorRows: expected 18 bytes \(2x3 RGB\) for pixels but received 12/);
  assert.throws(() => mirrorRows(pixels, -2, -2), /from 1 to 16384 for width but received the number -2/);
  assert.throws(
    () => warpAffine(pixels, new Uint8Array(9), 2, 2, matrix, 0),
    /expected 12 bytes \(2x2 RGB\) for destination but received 9/,
  );
  assert.throws(
    () => warpAffine(pixels, new Uint8Array(12), 2, 2, [1, 0, 0], 0),
    /expected six finite numbers for matrix/,
  );
  assert.throws(() => warpAffine(pixels, pixels, 2, 2, matrix, 0), /warpAffine: source and destination overlap/);
  assert.throws(() => warpAffine(pixels, new Uint8Array(12), 2, 2, matrix, 256), /from 0 to 255 for fill/);
  // A matrix far out of any image reads nothing but the border.
  const out = new Uint8Array(12);
  warpAffine(pixels, out, 2, 2, [1, 0, 1e30, 0, 1, -1e30], 9);
  assert.deepEqual(out, new Uint8Array(12).fill(9));
});
