// The lock file: one holder at a time, also after one was killed.
import assert from 'node:assert/strict';
import { existsSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { withLock } from '#blip/disk/lock-file.js';
import { endedIdentity, foreignIdentity, reusedIdentity } from '../helpers/identities.js';
import { put, temporary } from '../setup/fake-libtorch.js';

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
  await Promise.all([1, 2, 3].map(() => withLock(path, { onWait: (pid) => void told.push(pid) }, work)));
  assert.equal(most, 1);
  assert.deepEqual(told, [process.pid, process.pid]);
  assert.equal(existsSync(path), false);
});

test('it is open again after work that failed', async (t) => {
  const path = join(temporary(t), 'work.lock');
  const failing = withLock(path, {}, () => Promise.reject(new Error('broken')));
  await assert.rejects(failing, /broken/);
  assert.equal(await withLock(path, {}, async () => 'again'), 'again');
});

test("a killed process's lock is taken over", async (t) => {
  const onWait = () => assert.fail('nobody holds it');
  for (const gone of [endedIdentity(), reusedIdentity()]) {
    const path = put(join(temporary(t), 'work.lock'), `${gone}\n`);
    assert.equal(await withLock(path, { onWait }, async () => 'done'), 'done');
  }
});

test("another machine's lock is taken over only when nobody has touched it for long", async (t) => {
  const path = put(join(temporary(t), 'work.lock'), `${foreignIdentity()}\n`);
  let told = 0;
  const onWait = (pid: number) => {
    told = pid;
  };
  const waiting = withLock(path, { onWait }, async () => 'done');
  while (told === 0) await sleep(20);
  assert.equal(told, 7);
  utimesSync(path, new Date(0), new Date(0));
  assert.equal(await waiting, 'done');
});

test('a folder that cannot be written is a sentence', async (t) => {
  const file = put(join(temporary(t), 'file'), '');
  await assert.rejects(
    withLock(join(file, 'sub', 'work.lock'), {}, async () => 0),
    { name: 'UserError', message: /^The folder .*\/file\/sub cannot be made: a part of this path is a file\. / },
  );
});

test('a wait can be ended', async (t) => {
  const path = join(temporary(t), 'work.lock');
  await withLock(path, {}, () =>
    assert.rejects(
      withLock(path, { signal: AbortSignal.timeout(10) }, async () => 0),
      { name: 'AbortError' },
    ),
  );
});
