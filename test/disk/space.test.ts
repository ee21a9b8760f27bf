// Room on a disk: what a folder takes, what does not fit, and how sizes are printed.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { readJson } from '#blip/disk/json-file.js';
import { sha256OfFile } from '#blip/disk/sha256.js';
import { bytesBelow, demandSpace, formatBytes, spaceDefect } from '#blip/disk/space.js';
import { put } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/files.js';

test('sizes', (t) => {
  const folder = temporaryFolder(t);
  assert.equal(bytesBelow(join(folder, 'absent')), 0);
  put(join(folder, 'a/b'), Buffer.alloc(1_000));
  put(join(folder, 'c'), Buffer.alloc(1));
  symlinkSync(folder, join(folder, 'a/ring'));
  assert.equal(bytesBelow(folder), 1_001);
  assert.deepEqual([0, 999, 1_000, 543_563_777, 2_510_000_000, 1.5e15].map(formatBytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '543.6 MB',
    '2.5 GB',
    '1500.0 TB',
  ]);
});

test('what does not fit is a sentence with both sizes and the remedy', (t) => {
  const folder = temporaryFolder(t);
  demandSpace(folder, 1, 'a byte', 'Free some.');
  assert.throws(() => demandSpace(folder, 1e18, 'the download', 'Free some.'), {
    name: 'UserError',
    message: /^Not enough room for the download in .*: 1000000\.0 TB needed, \d+\.\d [kMGT]B free\. Free some\.$/,
  });
  assert.equal(spaceDefect(join(folder, 'absent'), 1e18, 'a folder that the system cannot tell of'), undefined);
});

test('the SHA-256 of a file, and a sentence where it cannot be read', async (t) => {
  const folder = temporaryFolder(t);
  const digest = createHash('sha256').update('text').digest('hex');
  assert.equal(await sha256OfFile(put(join(folder, 'file'), 'text')), digest);
  await assert.rejects(sha256OfFile(join(folder, 'absent')), {
    name: 'UserError',
    message: /absent cannot be read: ENOENT/,
  });
});

test('JSON that is absent, cut short or of another shape is undefined', (t) => {
  const folder = temporaryFolder(t);
  const read = (text: string) => readJson(put(join(folder, 'file.json'), text), () => z.object({ one: z.number() }));
  assert.deepEqual(read('{ "one": 1, "two": 2 }'), { one: 1 });
  for (const text of ['', '{ "one": 1', '{ "one": "1" }', '[]', 'null']) assert.equal(read(text), undefined, text);
  assert.equal(
    readJson(join(folder, 'absent.json'), () => z.unknown()),
    undefined,
  );
});
