// Which build of LibTorch a driver gets, and the small functions about the cache.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { cacheFolder } from '#blip/libtorch/cache.js';
import { nvidiaDriver, variantFor } from '#blip/libtorch/driver.js';
import { isYes } from '#blip/libtorch/search.js';
import { put } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/files.js';

test("the driver's version, as both kernel modules write it", (t) => {
  const folder = temporaryFolder(t);
  const texts = {
    '535.183.01':
      'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: 12\n',
    '580.95.05': 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (a@b)\n',
  };
  for (const [version, text] of Object.entries(texts)) {
    const driver = nvidiaDriver({ proc: put(join(folder, 'version'), text) });
    assert.deepEqual(driver, { version, seen: `NVIDIA driver ${version}` });
  }
  assert.equal(nvidiaDriver({ proc: put(join(folder, 'version'), 'something new') })?.version, undefined);
});

test('a driver that no kernel module shows: on LD_LIBRARY_PATH, or where the linker does not look', (t) => {
  const folder = temporaryFolder(t);
  const proc = join(folder, 'absent');
  const library = put(join(folder, 'nvidia/lib64/libcuda.so.1'), '');
  const places = { proc, folders: [join(folder, 'nvidia/lib64')] };
  assert.equal(nvidiaDriver({ proc, folders: [], env: {} }), undefined);
  assert.equal(nvidiaDriver({ proc, folders: [], env: { LD_LIBRARY_PATH: '' } }), undefined);
  // CUDA opens it by its name: only where the linker would not find it must somebody else have opened it before.
  const seen = `${library} is there`;
  const env = { LD_LIBRARY_PATH: `/nowhere:${join(folder, 'nvidia/lib64')}` };
  assert.deepEqual(nvidiaDriver({ ...places, env }), { version: undefined, seen });
  assert.deepEqual(nvidiaDriver({ ...places, env: {} }), { version: undefined, seen, library });
});

test('CUDA 13 for drivers from 580, CUDA 12.6 for older ones, the newest where nothing is known', () => {
  const variant = (version: string | undefined) => variantFor({ version, seen: '' });
  assert.deepEqual(
    [
      variant('580.65.06'),
      variant('579.99'),
      variant('535.183.01'),
      variant('600.1'),
      variant(undefined),
      variantFor(undefined),
    ],
    ['cu130', 'cu126', 'cu126', 'cu130', 'cu130', 'cu130'],
  );
});

test('the cache folder', () => {
  assert.equal(cacheFolder({ BLIP_CACHE: '/c', XDG_CACHE_HOME: '/x', HOME: '/h' }), '/c');
  assert.equal(cacheFolder({ XDG_CACHE_HOME: '/x', HOME: '/h' }), '/x/blip-retrieval');
  assert.equal(cacheFolder({ XDG_CACHE_HOME: 'relative', HOME: '/h' }), '/h/.cache/blip-retrieval');
  assert.equal(cacheFolder({ HOME: '/h' }), '/h/.cache/blip-retrieval');
});

test('yes and no in environment variables', () => {
  assert.deepEqual(['1', 'true', 'yes', 'on'].map(isYes), [true, true, true, true]);
  assert.deepEqual([undefined, '', '0', 'false', 'FALSE', 'no'].map(isYes), Array(6).fill(false));
});
