// The lock file: one holder at a time, also after one was killed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, utimesSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { withLock } from '#blip/disk/lock-file.js';
import { put, temporary } from '../setup/fake-libtorch.js';

const silent = () => {};

test('work under one lock does not overlap; the second is told who is at it', async (t) => {
  const path = join(temporary(t), 'sub', 'work.lock');
  let inside = 0;
  let most = 0;
  const told: number[] = [];
  const work = async () => {
    most = Math.max(most, ++inside);
    await sleep(50);
    inside--;
  };
  await Promise.all([1, 2, 3].map(() => withLock(path, (pid) => told.push(pid), work)));
  assert.equal(most, 1);
  assert.deepEqual(told, [process.pid, process.pid]);
  assert.equal(existsSync(path), false);
});

test('it is open again after work that failed', async (t) => {
  const path = join(temporary(t), 'work.lock');
  const failing = withLock(path, silent, () => Promise.reject(new Error('broken')));
  await assert.rejects(failing, /broken/);
  assert.equal(await withLock(path, silent, async () => 'again'), 'again');
});

test("a killed process's lock is taken over", async (t) => {
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  const path = put(join(temporary(t), 'work.lock'), `${dead} ${hostname()} x\n`);
  assert.equal(
    await withLock(
      path,
      () => assert.fail('nobody is at it'),
      async () => 'done',
    ),
    'done',
  );
});

test("another machine's lock is taken over only when nobody has touched it for long", async (t) => {
  const path = put(join(temporary(t), 'work.lock'), '1 elsewhere.example x\n');
  let told = 0;
  const waiting = withLock(
    path,
    (pid) => {
      told = pid;
    },
    async () => 'done',
  );
  while (told === 0) await sleep(20);
  assert.equal(told, 1);
  utimesSync(path, new Date(0), new Date(0));
  assert.equal(await waiting, 'done');
});

test('a folder that cannot be written is a sentence', async (t) => {
  const file = put(join(temporary(t), 'file'), '');
  await assert.rejects(
    withLock(join(file, 'sub', 'work.lock'), silent, async () => 0),
    {
      name: 'UserError',
      message: /^Cannot create .*\/file\/sub: .*make it writable or set BLIP_CACHE\.$/,
    },
  );
});
