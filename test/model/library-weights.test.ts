// Weights for other programs, through what the package exports: a folder of float16 safetensors whose sizes nobody names.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  architectureOf,
  fetchPretrained,
  loadPretrained,
  openTensorFile,
  sizesOf,
  stateDictEntries,
  stateDictOf,
  writeSafetensors,
} from '#blip/core.js';
import { isEvaluated } from '#blip/model/state-dict.js';
import { temporaryFolder } from '../helpers/files.js';
import { tinyArchitecture } from '../helpers/tiny-run.js';

test('fetchPretrained, sizesOf and loadPretrained on safetensors', async (t) => {
  const folder = join(temporaryFolder(t), 'my model');
  mkdirSync(folder);
  const ones = (shape: readonly number[]) => {
    const elements = shape.reduce((product, size) => product * size, 1);
    return new Uint8Array(Uint16Array.from({ length: elements }, () => 0x3c00).buffer);
  };
  const tensors = stateDictEntries(tinyArchitecture).flatMap(([name, shape, dtype]) =>
    isEvaluated(name) && dtype === 'float32' ? [[name, { dtype: 'float16', shape, data: ones(shape) }] as const] : [],
  );
  await writeSafetensors(join(folder, 'model.safetensors'), new Map(tensors));
  const { path, source, config } = await fetchPretrained(folder);
  assert.deepEqual([path, source, config], [join(folder, 'model.safetensors'), folder, undefined]);
  using file = await openTensorFile(path);
  assert.equal(stateDictOf(file.checkpoint).get('itm_head.bias')?.dtype, 'float16');
  const sizes = sizesOf(file.checkpoint);
  const { state, report } = await loadPretrained(path, architectureOf({ medConfig: {} }, sizes));
  assert.deepEqual([sizes.vit, sizes.imageSize, sizes.queueSize], ['tiny', 96, undefined]);
  assert.equal(report.loaded.length, tensors.length);
  const bias = state.get('itm_head.bias');
  assert.equal(bias?.dtype, 'float32');
  assert.deepEqual([...new Float32Array(bias?.bytes().slice().buffer ?? new ArrayBuffer(0))], [1, 1]);
});
