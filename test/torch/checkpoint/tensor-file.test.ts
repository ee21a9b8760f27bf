// A checkpoint opened for use: its tensors as the file has them, and no tensor of a file that is damaged.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { byteOffset, openTensorFile, stateDictOf, writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { liveHandles, scope } from '#blip/torch/tensor.js';
import { checkpointOf, opcodes, writeFile } from '../../helpers/checkpoint-files.js';
import { temporaryFolder } from '../../helpers/files.js';

const bytesOf = (values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

test('tensors of the file, and nothing left of it once they and the file are closed', async (t) => {
  const path = join(temporaryFolder(t), 'x.pth');
  await writeCheckpoint(path, {
    a: { dtype: 'float32', shape: [2, 2], data: bytesOf([1, 2, 3, 4]) },
    b: { dtype: 'bfloat16', shape: [], data: Uint8Array.of(0x80, 0x3f) },
  });
  const before = liveHandles();
  const file = await openTensorFile(path);
  const refs = stateDictOf(file.checkpoint);
  scope(() => {
    const tensors = [...refs].map(([name, ref]) => ({ name, tensor: file.tensor(ref) }));
    assert.deepEqual(
      tensors.map(({ name, tensor }) => [name, tensor.dtype, tensor.shape]),
      [
        ['a', 'float32', [2, 2]],
        ['b', 'bfloat16', []],
      ],
    );
    const [a] = tensors;
    assert.deepEqual([...(a?.tensor.float32() ?? [])], [1, 2, 3, 4]);
    file.close();
    assert.deepEqual([...(a?.tensor.float32() ?? [])], [1, 2, 3, 4], 'the tensor keeps the mapping');
  });
  assert.equal(liveHandles(), before);
  {
    using again = await openTensorFile(path);
    assert.equal(again.checkpoint.format, 'zip');
    assert.ok(liveHandles() > before);
  }
  assert.equal(liveHandles(), before);
});

test('a view that starts inside its storage', async (t) => {
  const path = join(temporaryFolder(t), 'x.pth');
  await writeCheckpoint(path, { w: { dtype: 'float32', shape: [4], data: bytesOf([1, 2, 3, 4]) } });
  using file = await openTensorFile(path);
  const [whole] = stateDictOf(file.checkpoint).values();
  assert.ok(whole !== undefined);
  const column = { ...whole, shape: [2], stride: [2], storageOffset: 1 };
  assert.equal(byteOffset(column), whole.fileOffset + 4);
  scope(() => assert.deepEqual([...file.tensor(column).float32()], [2, 4]));
});

test('a damaged file gives no tensor, whichever of its storages is damaged', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.pth');
  const bytes = 23 * 1024 * 1024; // three of them exceed what openCheckpoint compares by itself
  const part = (value: number) =>
    ({ dtype: 'uint8', shape: [bytes], data: new Uint8Array(bytes).fill(value) }) as const;
  await writeCheckpoint(path, { a: part(1), b: part(2), c: part(3) });
  const good = await openTensorFile(path);
  assert.equal(good.checkpoint.verified, false);
  good.close();
  const before = liveHandles();
  for (const { key, fileOffset } of good.checkpoint.storages) {
    const content = readFileSync(path);
    content[fileOffset + bytes - 1] = 0;
    const damaged = join(folder, `damaged-${key}.pth`);
    writeFileSync(damaged, content);
    await assert.rejects(openTensorFile(damaged), new RegExp(`damaged-${key}\\.pth.*data/${key}.*checksum`));
  }
  assert.equal(liveHandles(), before);
});

test('what is not a checkpoint is refused before anything is mapped', async (t) => {
  const path = writeFile(temporaryFolder(t), 'x.pth', checkpointOf(opcodes('\x80\x02cposix\nsystem\n.')));
  const before = liveHandles();
  await assert.rejects(openTensorFile(path), /x\.pth.*system/);
  await assert.rejects(openTensorFile(`${path}.absent`), /does not exist/);
  assert.equal(liveHandles(), before);
});
