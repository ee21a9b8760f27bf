// Arrays to tensors in one call, and numbers back: on the CPU, where nothing travels. test/strict-cuda counts the copies.
// Covers torch/transfer, and what native calls lack of memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMemoryShort } from '#blip/errors.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, scope } from '#blip/torch/tensor.js';
import { Reading, upload } from '#blip/torch/transfer.js';

test('arrays become tensors of their kind, under their names', () => {
  scope(() => {
    const shared = Float32Array.from([0, 1.5, -2, 9]);
    const sent = upload('cpu', {
      bytes: { data: Uint8Array.from([1, 2, 3, 4]), shape: [2, 2] },
      numbers: Int32Array.from([-1, 7]),
      long: BigInt64Array.from([2n ** 40n]),
      part: shared.subarray(1, 3),
      none: new Int32Array(0),
    });
    const kinds = Object.entries(sent).map(([name, { dtype, shape, device }]) => [name, dtype, shape, device]);
    assert.deepEqual(kinds, [
      ['bytes', 'uint8', [2, 2], 'cpu'],
      ['numbers', 'int32', [2], 'cpu'],
      ['long', 'int64', [1], 'cpu'],
      ['part', 'float32', [2], 'cpu'],
      ['none', 'int32', [0], 'cpu'],
    ]);
    shared.fill(3); // the elements were copied
    assert.deepEqual([...sent.part.float32()], [1.5, -2]);
    assert.deepEqual(sent.long.integers(), [2 ** 40]);
    assert.deepEqual([...sent.bytes.bytes()], [1, 2, 3, 4]);
  });
});

test('a reading has the numbers even of tensors that are gone, and leaves no handle', () => {
  const before = liveHandles();
  const reading = scope(() => new Reading([ops.float32([1, 2]), ops.full([], 3)]));
  assert.deepEqual(
    reading.finishFloat32().map((values) => [...values]),
    [[1, 2], [3]],
  );
  new Reading([]).finish();
  scope(() => new Reading([ops.float32([1])])).dispose();
  assert.equal(liveHandles(), before);
});

// LibTorch's message repeats the name that it is asked for: so any text can be had as one of its errors.
const errorSaying = (text: string): unknown => {
  try {
    native().resolve(text, '');
  } catch (error) {
    return error;
  }
  return undefined;
};

test('lack of memory is known by the words of all who ask the driver for it', () => {
  for (const words of [
    "can't allocate memory: you tried to allocate 4096 bytes",
    'CUDA error: out of memory CUDA kernel errors might be asynchronously reported at some other API call',
    'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`',
    'cuDNN error: CUDNN_STATUS_ALLOC_FAILED',
    "ncclUnhandledCudaError: Call to CUDA function failed. Last error: Cuda failure 'out of memory'",
    "ncclUnhandledCudaError: Call to CUDA function failed. Last error: Cuda failure 2 'out of memory'",
  ])
    assert.ok(isMemoryShort(errorSaying(words)), words);
  for (const words of [
    'CUDA error: an illegal memory access was encountered',
    "Cuda failure 'invalid argument'",
    'CUBLAS_STATUS_NOT_INITIALIZED',
  ])
    assert.equal(isMemoryShort(errorSaying(words)), false, words);
});
