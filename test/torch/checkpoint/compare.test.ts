// Checksums of a checkpoint: compared by several threads, and by ranks that share them.
// Covers torch/checkpoint/read/compare.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { openCheckpoint, verifyStorages, writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { compareAll, threadsFor } from '#blip/torch/checkpoint/read/compare.js';
import { temporaryFolder } from '../../helpers/files.js';

test('several threads compare every storage once, and name the one that differs', async (t) => {
  const path = join(temporaryFolder(t), 'storages');
  const storages = Array.from({ length: 12 }, (_, i) => randomBytes(300_000 + 7 * i)); // some chunks, and a part of one
  const bytes = Buffer.concat(storages);
  let end = 0;
  const summed = storages.map((data, i) => {
    end += data.length;
    return { key: i, fileOffset: end - data.length, bytes: data.length, crc32: crc32(data) };
  });
  writeFileSync(path, bytes);
  const file = await open(path, 'r');
  try {
    for (const threads of [1, 2, 4]) assert.equal(await compareAll(file, summed, threads), undefined);
    for (const [i, { fileOffset }] of summed.entries()) {
      const was = bytes[fileOffset] as number;
      writeSyncAt(path, fileOffset, was ^ 1);
      const found = await compareAll(file, summed, 1 + (i % 3));
      assert.deepEqual([found?.storage.key, found?.outcome], [i, 'differs']);
      writeSyncAt(path, fileOffset, was);
    }
    truncateSync(path, bytes.length - 1);
    const found = await compareAll(file, summed, 3);
    assert.deepEqual([found?.storage.key, found?.outcome], [11, 'short']);
  } finally {
    await file.close();
  }
  const unreadable = await open(dirname(path), 'r');
  // Threads end without a word: this one says why.
  await assert.rejects(compareAll(unreadable, summed, 3), { code: 'EISDIR' }).finally(() => unreadable.close());
  assert.deepEqual([threadsFor(2 ** 20), threadsFor(2 ** 40, 1_000_000)], [1, 1]);
});

test('ranks that open the same file share the comparison, and all throw what one finds', async (t) => {
  const path = join(temporaryFolder(t), 'shared.pth');
  const tensor = (size: number) => ({ dtype: 'uint8', shape: [size], data: new Uint8Array(size) }) as const;
  await writeCheckpoint(path, { a: tensor(33 * 2 ** 20), b: tensor(33 * 2 ** 20) });
  const checkpoint = openCheckpoint(path);
  const [a, b] = checkpoint.storages;
  assert.ok(a && b && !checkpoint.verified);
  writeSyncAt(path, a.fileOffset, 1);
  /** Rank `rank` of two; the other has `other` open, and `said` is what the other finds. */
  const verify = (rank: number, other: 'the same' | 'another', said: string | null) => {
    const told: unknown[] = [];
    const gatherValues = <T>(value: T): T[] => {
      const first = told.push(value) === 1;
      const theirs = (first ? (other === 'the same' ? value : 'another file') : said) as T;
      return rank === 0 ? [value, theirs] : [theirs, value];
    };
    return verifyStorages(checkpoint, { rank, gatherValues }).then(
      () => told[1],
      (error: Error) => error.message,
    );
  };
  const damage = /shared\.pth: the bytes of "data\/0" do not match their checksum/;
  assert.match(String(await verify(0, 'the same', null)), damage);
  assert.equal(await verify(1, 'the same', null), null); // its own part is right, and it reads no other
  assert.equal(await verify(1, 'the same', 'What rank 0 found.'), 'What rank 0 found.');
  assert.match(String(await verify(1, 'another', null)), damage);
  assert.equal(
    await verify(1, 'another', 'The other machine has a defect.').then((said) => damage.test(String(said))),
    true,
  );
});

function writeSyncAt(path: string, position: number, byte: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.of(byte), 0, 1, position);
  closeSync(fd);
}
