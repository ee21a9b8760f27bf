// The checkpoint writer: what it writes the reader gives back, laid out as torch.load maps it, and never half a file.
// Covers torch/checkpoint/write.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeFileAtomically } from '#blip/disk/atomic-file.js';
import { UserError } from '#blip/errors.js';
import {
  flattenCheckpoint,
  float,
  openCheckpoint,
  stateDictOf,
  tuple,
  type WritableTensor,
  type WritableValue,
  writeCheckpoint,
} from '#blip/torch/checkpoint/index.js';
import { DTYPES, type DType } from '#blip/torch/dtype.js';
import { elementsOf } from '../../helpers/checkpoint-files.js';
import { temporaryFolder } from '../../helpers/files.js';

function floats(...values: number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

const weight: WritableTensor = { dtype: 'float32', shape: [2, 3], data: floats(1, 2, 3, 4, 5, 6) };

test('values come back as they were', async (t) => {
  const path = join(temporaryFolder(t), 'x.pth');
  const list = [1, 2.5, 'épée 日本 \0 end', true, false, null, -1, 255, 256, 65536, -(2 ** 31), 2 ** 31, 2 ** 53 - 1];
  const value: WritableValue = {
    list,
    tuple: tuple([1, tuple([]), tuple([1, 2, 3, 4])]),
    odd: [Number.POSITIVE_INFINITY, Number.NaN, -0, 1e-5, float(3)],
    large: [2n ** 80n, -(2n ** 80n), 2n ** 63n, -1n, 0n, 127n, 128n, -128n, -129n],
    ordered: new Map<string | number, WritableValue>([
      [3, 'three'],
      ['a', {}],
      [0, []],
    ]),
  };
  await writeCheckpoint(path, value);
  const { root } = openCheckpoint(path);
  assert.ok(root instanceof Map);
  assert.deepEqual(root.get('list'), list);
  assert.deepEqual(root.get('tuple'), [1, [], [1, 2, 3, 4]]);
  assert.deepEqual(root.get('odd'), [Number.POSITIVE_INFINITY, Number.NaN, -0, 1e-5, 3]);
  assert.deepEqual(root.get('large'), [2n ** 80n, -(2n ** 80n), 2n ** 63n, -1, 0, 127, 128, -128, -129]);
  const ordered = root.get('ordered');
  assert.ok(ordered instanceof Map);
  assert.deepEqual([...ordered.keys()], [3, 'a', 0]);
  // A float stays one in Python, though JavaScript reads both as 3: BINFLOAT, not BININT1.
  assert.ok(readFileSync(path).includes(Buffer.from('G\x40\x08\0\0\0\0\0\0', 'latin1')));
});

for (const alwaysZip64 of [false, true]) {
  test(`tensors come back, aligned and with checksums${alwaysZip64 ? ', in zip64' : ''}`, async (t) => {
    const folder = temporaryFolder(t);
    const path = join(folder, 'x.pth');
    const shared = { ...weight, shape: [3, 2] };
    let calls = 0;
    const lazy: WritableTensor = {
      dtype: 'int64',
      shape: [2],
      data: () => {
        calls += 1;
        return new Uint8Array(BigInt64Array.of(1n, -5n).buffer);
      },
    };
    const model = new Map<string, WritableTensor>([
      ['weight', weight],
      ['again', weight],
      ['shared', shared],
      ['lazy', lazy],
      ['empty', { dtype: 'float32', shape: [3, 0], data: new Uint8Array() }],
      ['scalar', { dtype: 'bfloat16', shape: [], data: Uint8Array.of(0x80, 0x3f) }],
    ]);
    await writeCheckpoint(path, { model }, { alwaysZip64 });
    const checkpoint = openCheckpoint(path);
    const tensors = stateDictOf(checkpoint);
    assert.deepEqual([...tensors.keys()], [...model.keys()]);
    assert.equal(tensors.get('weight')?.fileOffset, tensors.get('shared')?.fileOffset);
    assert.equal(checkpoint.storages.length, 4);
    assert.equal(calls, 1);
    for (const [name, tensor] of tensors) {
      assert.deepEqual([tensor.dtype, tensor.shape], [model.get(name)?.dtype, model.get(name)?.shape]);
      assert.equal(tensor.fileOffset % 64, 0, name);
    }
    const elements = [...tensors.values()].map((tensor) => elementsOf(path, tensor));
    const row = [1, 2, 3, 4, 5, 6];
    assert.deepEqual(elements, [row, row, row, [1, -5], [], [1]]);
    assert.ok(checkpoint.storages.every(({ crc32, bytes }) => crc32 !== undefined && (crc32 !== 0 || bytes === 0)));
    assert.equal(readFileSync(path).includes(Buffer.from('PK\x06\x06')), alwaysZip64);
    assert.deepEqual(readdirSync(folder), ['x.pth'], 'a temporary file was left');
  });
}

test('every dtype is written', async (t) => {
  const path = join(temporaryFolder(t), 'x.pth');
  const dtypes = Object.keys(DTYPES) as DType[];
  const tensorOf = (dtype: DType) => ({ dtype, shape: [3], data: new Uint8Array(3 * DTYPES[dtype].bytes) });
  await writeCheckpoint(path, new Map(dtypes.map((dtype) => [dtype, tensorOf(dtype)])));
  const { tensors } = flattenCheckpoint(openCheckpoint(path));
  assert.deepEqual(
    [...tensors].map(([name, { dtype }]) => [name, dtype]),
    dtypes.map((dtype) => [dtype, dtype]),
  );
});

test('tensors that contradict themselves are refused, and nothing is left behind', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.pth');
  writeFileSync(path, 'old');
  const wrong = (tensor: WritableTensor): Promise<void> => writeCheckpoint(path, { model: { tensor } });
  await assert.rejects(wrong({ ...weight, shape: [7] }), /28 bytes, not 24/);
  await assert.rejects(wrong({ ...weight, data: () => new Uint8Array(5) }), /5 bytes, not 24/);
  await assert.rejects(wrong({ ...weight, shape: [-1, -6] }), /cannot have the shape/);
  const other: WritableTensor = { dtype: 'uint8', shape: [24], data: weight.data };
  await assert.rejects(writeCheckpoint(path, [weight, other]), /share their data/);
  assert.deepEqual(readdirSync(folder), ['x.pth']);
  assert.equal(readFileSync(path, 'utf8'), 'old');
});

test('writeFileAtomically keeps the old file until the new one is whole', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x');
  writeFileSync(path, 'old');
  const failing = writeFileAtomically(path, async (file) => {
    await file.write(new Uint8Array(3_000_000));
    assert.equal(readFileSync(path, 'utf8'), 'old');
    throw new Error('the writer failed');
  });
  await assert.rejects(failing, /the writer failed/);
  assert.deepEqual(readdirSync(folder), ['x']);
  const parts = [
    Buffer.from('a'),
    Buffer.alloc(1 << 21, 'b'),
    Buffer.from('c'),
    Buffer.alloc((1 << 20) - 1, 'd'),
    Buffer.from('e'),
  ];
  const positions = await writeFileAtomically(path, async (file) => {
    const seen: number[] = [];
    for (const part of parts) {
      seen.push(file.position);
      await file.write(part);
    }
    return seen;
  });
  assert.deepEqual(positions, [0, 1, (1 << 21) + 1, (1 << 21) + 2, (1 << 21) + (1 << 20) + 1]);
  assert.ok(readFileSync(path).equals(Buffer.concat(parts)));
});

test('writeFileAtomically writes through a symbolic link, and says why it cannot write', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'real'));
  writeFileSync(join(folder, 'real', 'x'), 'old');
  symlinkSync('real/x', join(folder, 'link'));
  await writeFileAtomically(join(folder, 'link'), (file) => file.write(Buffer.from('new')));
  assert.equal(readlinkSync(join(folder, 'link')), 'real/x');
  assert.equal(readFileSync(join(folder, 'real', 'x'), 'utf8'), 'new');
  for (const [name, sentence] of [
    ['real', /is a folder/],
    ['none/x', /folder .*none does not exist/],
    ['link/x', /folder .*link does not exist/],
  ] as const) {
    const write = writeFileAtomically(join(folder, name), (file) => file.write(Buffer.from('x')));
    await assert.rejects(write, (error: unknown) => error instanceof UserError && sentence.test(error.message));
  }
});
