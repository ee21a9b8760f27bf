// Reading shared libraries: real ones as the system has them, made ones, and damaged ones.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownMachine, readDynamic, systemHas, unresolvedLibraries } from '#blip/libtorch/elf.js';
import { library, put } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/files.js';

test('what is no library is undefined: absent, empty, a folder, text, every prefix of a library', (t) => {
  const folder = temporaryFolder(t);
  assert.equal(readDynamic(join(folder, 'absent')), undefined);
  const whole = library({ needed: ['libx.so'], rpath: '$ORIGIN' });
  const path = join(folder, 'cut.so');
  for (let length = 0; length < whole.length; length++) {
    assert.equal(readDynamic(put(path, whole.subarray(0, length))), undefined, `${length} bytes`);
  }
  assert.deepEqual(readDynamic(put(path, whole))?.needed, ['libx.so']);
});

test('a byte changed anywhere never throws or hangs', (t) => {
  const folder = temporaryFolder(t);
  const whole = library({ needed: ['libx.so'], runpath: '$ORIGIN/../lib' });
  for (let at = 0; at < whole.length; at++) {
    for (const value of [0, 0x7f, 0xff]) {
      const changed = Buffer.from(whole);
      changed[at] = value;
      const path = put(join(folder, 'changed.so'), changed);
      assert.doesNotThrow(() => unresolvedLibraries(path, {}), `byte ${at} = ${value}`);
    }
  }
});

test("Node's own program: its processor, and nothing that it would miss", () => {
  assert.equal(readDynamic(process.execPath)?.machine, ownMachine);
  assert.ok(readDynamic(process.execPath)?.needed.includes('libc.so.6'));
  assert.deepEqual(unresolvedLibraries(process.execPath), []);
});

test('the system has its C library and not everything', () => {
  assert.equal(systemHas('libc.so.6'), true);
  assert.equal(systemHas('libno-such-library.so.1'), false);
});

test('RPATH serves the libraries that are loaded in turn, RUNPATH only its own file', (t) => {
  const inherited = (kind: 'rpath' | 'runpath') => {
    const folder = temporaryFolder(t);
    put(join(folder, 'far/libleaf.so'), library());
    put(join(folder, 'far/libmiddle.so'), library({ needed: ['libleaf.so'] }));
    return put(join(folder, 'near/libtop.so'), library({ [kind]: '$ORIGIN/../far', needed: ['libmiddle.so'] }));
  };
  assert.deepEqual(unresolvedLibraries(inherited('rpath'), {}), []);
  assert.deepEqual(unresolvedLibraries(inherited('runpath'), {}), ['libleaf.so']);
});

test('each missing library is named once, and a ring of libraries ends', (t) => {
  const folder = temporaryFolder(t);
  put(join(folder, 'liba.so'), library({ rpath: '$ORIGIN', needed: ['libb.so', 'libgone.so'] }));
  put(
    join(folder, 'libb.so'),
    library({ rpath: ['$', '{ORIGIN}'].join(''), needed: ['liba.so', 'libgone.so', 'libaway.so'] }),
  );
  assert.deepEqual(unresolvedLibraries(join(folder, 'liba.so'), {}), ['libgone.so', 'libaway.so']);
});
