// The .safetensors files between the programs: what is written reads back, what is broken says so.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readTensor, writeTensors } from '#blip/bench/tensor-file.js';
import { absent, fixture } from '../helpers/fixtures.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-test-tensor-file-'));
after(() => rmSync(folder, { recursive: true }));

test('a file that is none, is cut, or lacks the tensor says so', () => {
  const path = join(folder, 'broken.safetensors');
  writeFileSync(path, 'abc');
  assert.throws(() => readTensor(path, 'a'), /broken\.safetensors is no \.safetensors file/);
  writeTensors(path, { a: { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) } });
  assert.throws(() => readTensor(path, 'b'), /holds no float32 tensor b/);
  writeFileSync(path, readFileSync(path).subarray(0, -1));
  assert.throws(() => readTensor(path, 'a'), /truncated: a ends beyond it/);
});

test('tensors read back as written, views included', () => {
  const path = join(folder, 'two.safetensors');
  const store = Float32Array.of(9, 1, 2, 3, 4, 5, 6, 9);
  writeTensors(path, {
    first: { shape: [2, 3], data: store.subarray(1, 7) },
    second: { shape: [1], data: Float32Array.of(-100) },
  });
  assert.deepEqual(readTensor(path, 'first'), { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) });
  assert.deepEqual(readTensor(path, 'second'), { shape: [1], data: Float32Array.of(-100) });
});

test("a file that Python's safetensors wrote is read", (t) => {
  const path = fixture('rule_tiny/eval.safetensors');
  if (path === undefined) return t.skip(absent('rule_tiny/eval.safetensors'));
  const { shape, data } = readTensor(path, 'val_i2t');
  assert.equal(shape.length, 2);
  assert.equal(data.length, (shape[0] ?? 0) * (shape[1] ?? 0));
  assert.ok(data.includes(-100) && data.every((score) => score >= -100 && score < 100));
});
