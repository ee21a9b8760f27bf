// Unpacking archives: what is kept, and every archive that must be refused.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { unpack, unpackedSize } from '#blip/setup/unpack.js';
import { put, temporary, type ZipEntry, zip } from './fake-libtorch.js';

const everything = () => true;

function refuses(archive: string, folder: string, pattern: RegExp) {
  return assert.rejects(unpack(archive, folder, everything), (error: unknown) => {
    assert.ok(error instanceof UserError);
    assert.match(error.message, pattern);
    return true;
  });
}

test('keeps what is wanted, and says how large it is', async (t) => {
  const folder = temporary(t);
  const entries: ZipEntry[] = [
    { name: 'a/', content: '' },
    { name: 'a/b/one.so', content: Buffer.alloc(100_000, 'x') },
    { name: 'a/two.txt', content: 'not wanted' },
    { name: 'empty.so', content: '' },
  ];
  const archive = put(join(folder, 'archive.zip'), zip(entries));
  const keep = (name: string) => name.endsWith('.so');
  assert.equal(await unpackedSize(archive, keep), 100_000);
  assert.equal(await unpack(archive, join(folder, 'out'), keep), 2);
  assert.deepEqual(readdirSync(join(folder, 'out'), { recursive: true }).sort(), [
    'a',
    'a/b',
    'a/b/one.so',
    'empty.so',
  ]);
  assert.deepEqual(readFileSync(join(folder, 'out/a/b/one.so')), Buffer.alloc(100_000, 'x'));
});

test('names that leave the folder are refused, and nothing is written there', async (t) => {
  const folder = temporary(t);
  for (const name of ['../evil', 'a/../../evil', '/tmp/evil', 'C:/evil', 'a\\..\\..\\evil']) {
    const archive = put(join(folder, 'evil.zip'), zip([{ name, content: 'evil' }]));
    await refuses(
      archive,
      join(folder, 'out'),
      /^.*evil.* cannot be unpacked: .*Remove the archive and run setup again\.$/,
    );
    assert.equal(existsSync(join(folder, 'evil')), false, name);
  }
});

test('links are refused', async (t) => {
  const folder = temporary(t);
  const archive = put(join(folder, 'l.zip'), zip([{ name: 'lib', content: '/etc', mode: 0o120777 }]));
  await refuses(archive, join(folder, 'out'), /^lib in .* cannot be unpacked: it is a link/);
});

test('a wrong checksum, a cut archive, and no archive at all', async (t) => {
  const folder = temporary(t);
  const wrong = put(join(folder, 'w.zip'), zip([{ name: 'lib.so', content: 'bytes', crc: 1 }]));
  await refuses(wrong, join(folder, 'out'), /checksum of lib\.so does not match/);
  const whole = zip([{ name: 'lib.so', content: Buffer.alloc(5_000) }]);
  await refuses(put(join(folder, 'cut.zip'), whole.subarray(0, 2_000)), join(folder, 'out'), /is not a zip archive/);
  await refuses(put(join(folder, 'page.zip'), '<html>'), join(folder, 'out'), /page\.zip is not a zip archive/);
});

test('an abort ends it', async (t) => {
  const folder = temporary(t);
  const archive = put(join(folder, 'a.zip'), zip([{ name: 'lib.so', content: 'bytes' }]));
  await assert.rejects(unpack(archive, join(folder, 'out'), everything, AbortSignal.abort()), { name: 'AbortError' });
});
