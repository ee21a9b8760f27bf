// Tensors over a mapped file: right values whatever offset and strides, and files that are not what they should be.
import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import type { DType } from '#blip/torch/dtype.js';
import { mapFile } from '#blip/torch/mapped-file.js';
import * as ops from '#blip/torch/ops.js';
import { keep, liveHandles, scope, type Tensor } from '#blip/torch/tensor.js';
import { temporaryFolder } from '../helpers/files.js';
import { residentOf } from '../helpers/resident.js';

const folder = temporaryFolder();

/** A file of the float32 numbers 0, 1, … 11 after `offset` bytes, and three bytes more. */
function numbered(name: string, offset: number): string {
  const bytes = Buffer.alloc(offset + 12 * 4 + 3);
  for (let i = 0; i < 12; i++) bytes.writeFloatLE(i, offset + 4 * i);
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** Shapes, strides in elements, and the numbers they give. */
const VIEWS: [shape: number[], stride: number[], values: number[]][] = [
  [[12], [1], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]],
  [
    [3, 4],
    [4, 1],
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  ],
  [
    [4, 3],
    [1, 4],
    [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11],
  ],
  [
    [2, 3],
    [0, 1],
    [0, 1, 2, 0, 1, 2],
  ],
  [[3], [0], [0, 0, 0]],
  [[4], [3], [0, 3, 6, 9]],
  [[], [], [0]],
  [[0], [1], []],
  [[2, 0, 3], [9, 3, 1], []],
  [
    [1, 1, 2],
    [100, 50, 1],
    [0, 1],
  ],
];

for (const offset of [0, 4, 64, 1, 2, 3, 7, 61]) {
  test(`every stride at byte ${offset}`, () => {
    const before = liveHandles();
    const path = numbered(`at-${offset}`, offset);
    const file = mapFile(path);
    assert.equal(file.size, offset + 51);
    scope(() => {
      for (const [shape, stride, values] of VIEWS) {
        const x = file.tensor(offset, 'float32', shape, stride);
        assert.deepEqual([x.shape, x.strides, x.dtype], [shape, stride, 'float32']);
        assert.deepEqual([...x.float32()], values, `[${shape}] by [${stride}]`);
      }
      const whole = file.tensor(offset, 'float32', [12], [1]);
      assert.equal(ops.sum(whole).item(), 66);
      // Kernels need aligned elements: others are copied, so they do not see what is written into the mapping.
      ops.subInPlace(whole, whole);
      assert.equal(ops.sum(file.tensor(offset, 'float32', [12], [1])).item(), offset % 4 === 0 ? 0 : 66);
    });
    file.close();
    assert.equal(liveHandles(), before);
  });
}

test('other types, aligned and not', () => {
  const path = numbered('types', 8);
  const file = mapFile(path);
  const content = readFileSync(path);
  scope(() => {
    const types: DType[] = ['uint8', 'int16', 'int64', 'float64', 'bfloat16', 'complex128', 'bool'];
    for (const dtype of types)
      for (const offset of [0, 16, 5])
        assert.deepEqual(
          [...file.tensor(offset, dtype, [2], [1]).bytes()],
          [...content.subarray(offset, offset + file.tensor(offset, dtype, [2], [1]).bytes().length)],
        );
  });
  file.close();
});

test('writing to a tensor changes neither the file nor another mapping', () => {
  const path = numbered('private', 0);
  const [first, second] = [mapFile(path), mapFile(path)];
  scope(() => {
    const x = first.tensor(0, 'float32', [12], [1]);
    ops.addInPlace(x, ops.float32([100]));
    assert.equal(ops.select(x, 0, 1).item(), 101);
    assert.equal(ops.select(second.tensor(0, 'float32', [12], [1]), 0, 1).item(), 1);
  });
  assert.equal(readFileSync(path).readFloatLE(4), 1);
  for (const file of [first, second]) file.close();
});

test('autograd does not take writing to one tensor for writing to its neighbour', () => {
  const file = mapFile(numbered('neighbours', 0));
  scope(() => {
    const [weight, other] = [file.tensor(0, 'float32', [6], [1]), file.tensor(24, 'float32', [6], [1])];
    weight.requiresGrad = true;
    const loss = ops.sum(ops.mul(weight, weight));
    ops.fillInPlace(other, 7);
    loss.backward();
    assert.deepEqual([...(weight.grad?.float32() ?? [])], [0, 2, 4, 6, 8, 10]);
  });
  file.close();
});

test('a file that is replaced stays as it was for those who mapped it, aligned or not', () => {
  const path = numbered('replaced', 1);
  const file = mapFile(path);
  const other = join(folder, 'other');
  writeFileSync(other, Buffer.alloc(4));
  renameSync(other, path);
  scope(() => {
    assert.equal(ops.sum(file.tensor(1, 'float32', [12], [1])).item(), 66);
    assert.equal(file.tensor(4, 'uint8', [1], [1]).dtype, 'uint8');
  });
  rmSync(path);
  scope(() => assert.equal(ops.sum(file.tensor(1, 'float32', [12], [1])).item(), 66));
  file.close();
});

test('tensors keep the mapping when it is closed', () => {
  const before = liveHandles();
  const file = mapFile(numbered('closed', 0));
  const x = file.tensor(0, 'float32', [12], [1]);
  file.close();
  file.close();
  assert.equal(
    scope(() => ops.sum(x).item()),
    66,
  );
  assert.throws(
    () => file.tensor(0, 'float32', [1], [1]),
    /viewBytes: expected a tensor for bytes but received a handle that was/,
  );
  assert.throws(() => file.tensor(1, 'float32', [1], [1]), /received a handle that was/);
  x.dispose();
  assert.equal(liveHandles(), before);
});

const MiB = 2 ** 20;
const PAGE = 65_536; // the largest that Linux uses

/** A file of three MiB of the float32 numbers 1, 2 and 3, which begin inside a page. */
function three(name: string): string {
  const path = join(folder, name);
  const values = Float32Array.from({ length: (3 * MiB) / 4 }, (_, i) => 1 + Math.floor((i * 4) / MiB));
  writeFileSync(path, Buffer.concat([Buffer.alloc(64), Buffer.from(values.buffer)]));
  return path;
}

test('a tensor that is freed gives its pages back, and leaves those of others', () => {
  const path = three('three');
  const file = mapFile(path);
  const tensor = (i: number) => file.tensor(64 + i * MiB, 'float32', [MiB / 4], [1]);
  const [first, second, third] = [tensor(0), tensor(1), tensor(2)];
  const sum = () => scope(() => [first, third].map((x) => ops.sum(x).item() / (MiB / 4)));
  scope(() => void ops.sum(second).item());
  assert.deepEqual(sum(), [1, 3]);
  const before = residentOf(path);
  assert.ok(before >= 3 * MiB);
  const view = scope(() => keep(ops.slice(second, 0, 0, 8)));
  second.dispose();
  assert.equal(residentOf(path), before, 'a view has them still');
  view.dispose();
  assert.ok(before - residentOf(path) >= MiB - 2 * PAGE); // more where the system maps large pages, which come again
  assert.deepEqual(sum(), [1, 3]);
  assert.equal(
    scope(() => ops.sum(tensor(1)).item() / (MiB / 4)),
    2,
    'read from the file again',
  );
  for (const x of [first, third]) x.dispose();
  file.close();
  assert.equal(residentOf(path), 0);
});

test('what was written lasts while a tensor over it does', () => {
  const path = three('written');
  const file = mapFile(path);
  const all = () => file.tensor(64, 'float32', [(3 * MiB) / 4], [1]);
  const second = file.tensor(64 + MiB, 'float32', [MiB / 4], [1]);
  const sum = (x: Tensor) => scope(() => ops.sum(x).item() / (MiB / 4));
  scope(() => ops.addInPlace(second, ops.float32([10])));
  scope(() => assert.equal(sum(all()), 1 + 12 + 3)); // freed: it overlaps with what `second` has
  assert.equal(sum(second), 12);
  second.dispose();
  // Parts of the two pages at its ends, which other tensors may share, stay as they were written.
  const again = scope(() => sum(all()));
  assert.ok(again >= 6 && again <= 6 + (10 * 2 * PAGE) / MiB, `${again}`);
  file.close();
});

test('places that are not in the file', () => {
  const file = mapFile(numbered('short', 0));
  const before = liveHandles();
  const places: [offset: number, shape: number[], stride: number[]][] = [
    [48, [1], [1]],
    [47, [2], [1]],
    [45, [12], [1]],
    [0, [13], [1]],
    [1, [13], [1]],
    [0, [2], [12]],
    [1, [2], [12]],
    [-4, [1], [1]],
    [-1, [1], [1]],
    [0.5, [1], [1]],
    [NaN, [1], [1]],
    [Infinity, [1], [1]],
    [2 ** 60, [1], [1]],
    [0, [-1], [1]],
    [1, [-1], [1]],
    [0, [2], [-1]],
    [1, [2], [-1]],
    [0, [1.5], [1]],
    [1, [1.5], [1]],
    [0, [2, 2], [1]],
    [1, [2, 2], [1]],
    [1, [2 ** 50], [2 ** 50]],
  ];
  for (const [offset, shape, stride] of places)
    assert.throws(
      () => file.tensor(offset, 'float32', shape, stride),
      /^(RangeError: The tensor .* extends beyond the end of .*short\.|(Type)?Error: (viewBytes|aten::[a-z_.]+): .*)$/,
      `${offset} [${shape}] by [${stride}]`,
    );
  assert.equal(liveHandles(), before);
  file.close();
});

test('files that cannot be mapped', () => {
  const empty = join(folder, 'empty');
  writeFileSync(empty, '');
  const absent = join(folder, 'absent');
  const sentences: [path: string, sentence: RegExp][] = [
    [absent, /Cannot open .*absent: no such file or directory\. Name a readable file/],
    [folder, /file with content\. Name a readable file/],
    [empty, /empty is not a regular file with content/],
    [join(empty, 'below'), /Cannot open .*below: not a directory\. Name/],
    [`${absent}\0`, /without null bytes/],
  ];
  for (const [path, sentence] of sentences)
    assert.throws(
      () => mapFile(path),
      (error) => error instanceof UserError && sentence.test(error.message),
    );
});
