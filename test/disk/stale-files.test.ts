// Temporary files that killed writers have left: a later writer clears them away, and no others.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { removeStale, temporaryBeside } from '#blip/disk/stale-files.js';
import { temporaryFolder } from '../helpers/files.js';

const { folder, remove } = temporaryFolder();
after(remove);

const target = join(folder, 'checkpoint_last.pth');
const own = /\.([0-9a-f]{8})-(\d+)-(\d+)\.[0-9a-f]{8}\.tmp$/.exec(temporaryBeside(target)) ?? [];
const [, space = '', pid = '', start = ''] = own;
const ended = spawnSync(process.execPath, ['-e', '']).pid;
const otherSpace = space.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
const DAY = 86_400;

const cases: [what: string, name: string, secondsOld: number, stays: boolean][] = [
  ['of a writer that has ended', `.checkpoint_last.pth.${space}-${ended}-1.00000000.tmp`, 0, false],
  ['of one whose number another process has', `.checkpoint_last.pth.${space}-${pid}-1.00000000.tmp`, 0, false],
  ['of one that is alive', `.checkpoint_last.pth.${space}-${pid}-${start}.00000000.tmp`, 2 * DAY, true],
  ['of another machine', `.checkpoint_last.pth.${otherSpace}-${ended}-1.00000000.tmp`, DAY / 2, true],
  ['of another machine, old', `.checkpoint_last.pth.${otherSpace}-${ended}-1.00000001.tmp`, 2 * DAY, false],
  ['beside another file', `.checkpoint_best.pth.${space}-${ended}-1.00000000.tmp`, 0, true],
  ['of another program', '.checkpoint_last.pth.swp', 2 * DAY, true],
];

test('the writer is in the name', () => {
  assert.equal(basename(temporaryBeside(target)).startsWith('.checkpoint_last.pth.'), true);
  assert.equal(Number(pid), process.pid);
  assert.notEqual(temporaryBeside(target), temporaryBeside(target));
});

test('what a writer has left that ended is removed, and nothing else', async () => {
  for (const [, name, secondsOld] of cases) {
    writeFileSync(join(folder, name), '');
    const time = Date.now() / 1000 - secondsOld;
    utimesSync(join(folder, name), time, time);
  }
  await removeStale(target);
  for (const [what, name, , stays] of cases) assert.equal(existsSync(join(folder, name)), stays, what);
});

test('folders that a writer was filling are removed as well', async () => {
  const left = join(folder, `.checkpoint_last.pth.${space}-${ended}-1.00000002.tmp`);
  mkdirSync(join(left, 'deep'), { recursive: true });
  await removeStale(target);
  assert.equal(existsSync(left), false);
});

test('a folder that is not there is left to the write that follows', async () => {
  await removeStale(join(folder, 'nowhere', 'x.pth'));
});
