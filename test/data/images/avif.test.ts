// AVIF files beside what Pillow made of them (golden/field/avif, drawn by make_avif.py), and files made to cost time or memory.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeAvif } from '#blip/data/images/avif.js';
import { readAvif } from '#blip/data/images/avif-boxes.js';
import { decodeRgb } from '#blip/data/images/decode.js';
import { ImageDefect, TooManyPixels, UnsupportedImage } from '#blip/data/images/limits.js';
import { UserError } from '#blip/errors.js';
import { noise, temporaryFolder } from '../../helpers/files.js';
import { projectRoot } from '../../helpers/fixtures.js';
import { readJson } from '../../helpers/tensors.js';

interface Expected {
  refused?: string;
  size?: [width: number, height: number];
  sha256?: string;
}

const golden = join(projectRoot, 'test/golden/field');
const { images } = readJson<{ images: Record<string, Expected> }>(join(golden, 'avif.json'));
const path = (name: string) => join(golden, 'avif', `${name}.avif`);
const read = (name: string) => readFileSync(path(name));

test('every golden file has its expected values', () => {
  const names = Object.keys(images).map((name) => `${name}.avif`);
  assert.deepEqual(readdirSync(join(golden, 'avif')).sort(), names.sort());
});

for (const [name, { refused, size, sha256 }] of Object.entries(images))
  test(`${name} ${refused === undefined ? "has Pillow's bytes" : 'is refused, as by Pillow'}`, async () => {
    if (refused !== undefined) {
      const named = (error: unknown) =>
        error instanceof UserError && /^The image .* (is|cannot) .*\.$/.test(error.message);
      return assert.rejects(decodeRgb(path(name)), named);
    }
    const { data, width, height } = await decodeRgb(path(name));
    assert.deepEqual([width, height], size);
    assert.equal(createHash('sha256').update(data).digest('hex'), sha256);
  });

test('colours of a matrix that libavif computes otherwise are refused by name', async () => {
  const folder = temporaryFolder();
  for (const matrix of [4, 7, 8, 14]) {
    const bytes = read('420_full');
    bytes.writeUInt16BE(matrix, bytes.indexOf('nclx') + 8);
    const file = join(folder, `matrix_${matrix}.avif`);
    writeFileSync(file, bytes);
    await assert.rejects(
      decodeRgb(file),
      new RegExp(`cannot be decoded \\(AVIF colours of matrix ${matrix}\\)\\. Convert it`),
    );
  }
});

// ---------------------------------------------------------------- hostile files

test('an image of more pixels than allowed is refused before it is decoded', async () => {
  const bytes = read('420_full');
  await assert.rejects(decodeAvif(bytes, 37 * 23 - 1), TooManyPixels);
  bytes.writeUInt32BE(0xffffffff, bytes.indexOf('ispe') + 8);
  await assert.rejects(decodeAvif(bytes, 1e6), TooManyPixels);
});

test('a stream of more pixels than its header says is refused before it is decoded', async () => {
  const bytes = read('420_grid');
  for (let at = bytes.indexOf('ispe'); at >= 0; at = bytes.indexOf('ispe', at + 1)) {
    bytes.writeUInt32BE(1, at + 8);
    bytes.writeUInt32BE(1, at + 12);
  }
  await assert.rejects(
    decodeAvif(bytes, 64 * 64),
    (error) => error instanceof ImageDefect || error instanceof TooManyPixels,
  );
  const plain = read('420_full');
  const at = plain.indexOf('ispe');
  plain.writeUInt32BE(5, at + 8);
  plain.writeUInt32BE(5, at + 12);
  await assert.rejects(decodeAvif(plain, 100), TooManyPixels);
  await assert.rejects(decodeAvif(plain, 1e6), /a picture of .* in its data, 5x5 in its header|AV1 stream/);
});

test('an item whose parts are more than the file is refused, and so are parts without a place', () => {
  const bytes = read('420_grid');
  const iloc = bytes.indexOf('iloc') + 4;
  const first = iloc + 8;
  bytes.writeUInt16BE(65_535, first + 6);
  assert.throws(() => readAvif(bytes), ImageDefect);
  bytes.writeUInt16BE(0, iloc + 4);
  assert.throws(() => readAvif(bytes), /parts without a place/);
});

test('names of boxes come to the terminal without control characters', () => {
  const bytes = read('420_full');
  bytes.write('\x1b[2J', bytes.indexOf('iloc'), 'latin1');
  bytes.writeUInt32BE(0x7fffffff, bytes.indexOf('\x1b[2J') - 4);
  assert.throws(() => readAvif(bytes), /a box \?\[2J of 2147483647 bytes/);
});

test('4000 damaged headers give an image or a reason', () => {
  const names = Object.keys(images);
  for (let i = 0; i < 4000; i++) {
    const bytes = read(names[i % names.length] ?? '');
    const random = Buffer.from(noise(12, i + 1));
    for (let n = 0; n < 12; n += 4) bytes[random.readUInt16LE(n) % Math.min(bytes.length, 700)] = random[n + 2] ?? 0;
    const part = i % 7 === 0 ? bytes.subarray(0, random.readUInt16LE(9) % bytes.length) : bytes;
    try {
      readAvif(part);
    } catch (error) {
      assert.ok(error instanceof ImageDefect || error instanceof UnsupportedImage, String(error));
    }
  }
});
