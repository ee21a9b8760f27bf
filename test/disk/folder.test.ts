// Folders that can be made, and those that cannot: each a sentence, none a hang.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { intoFolder, makeFolder } from '#blip/disk/folder.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-folder-'));
after(() => rmSync(folder, { recursive: true }));

test('folders above are made too, and one that is there stays', () => {
  for (const _ of [1, 2]) makeFolder(join(folder, 'a/b/c'));
  makeFolder(`${folder}/d/e/`);
  assert.ok(existsSync(join(folder, 'a/b/c')) && existsSync(join(folder, 'd/e')));
});

test('a file in the way is named', () => {
  writeFileSync(join(folder, 'file'), '');
  for (const path of ['file', 'file/below', 'file/below/that'])
    assert.throws(() => makeFolder(join(folder, path)), {
      name: 'UserError',
      message: /a part of this path is a file/,
    });
});

test('a file system that refuses every folder is an error, not an endless attempt', () => {
  // In a process of its own: what it guards against never returns.
  const calls = {
    'folder.js': "m.makeFolder('/proc/nowhere/deep')",
    'lock-file.js': "m.withLock('/proc/nowhere/deep/work.lock', {}, async () => 0)",
  };
  for (const [name, call] of Object.entries(calls)) {
    const script = `import('${new URL(import.meta.resolve(`#blip/disk/${name}`)).href}').then((m) => ${call})`;
    const { status, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 60_000 });
    assert.equal(status, 1, name);
    assert.match(
      stderr,
      /UserError: The folder \/proc\/nowhere cannot be made: this file system does not allow folders there\./,
    );
  }
});

test('a file is written into a folder that is made first, and one that cannot be written is named', () => {
  intoFolder(join(folder, 'new/one'), 'file.txt', (path) => writeFileSync(path, 'text'));
  assert.equal(readFileSync(join(folder, 'new/one/file.txt'), 'utf8'), 'text');
  assert.throws(() => intoFolder(folder, 'new', (path) => writeFileSync(path, 'text')), {
    name: 'UserError',
    message: /\/new cannot be written: EISDIR/,
  });
});
