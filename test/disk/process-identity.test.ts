// Which process is alive: this one is; one that ended is not, nor one whose number this process has; others' are unknown.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bootId, isAlive, ownIdentity, parseIdentity } from '#blip/disk/process-identity.js';
import { endedIdentity, foreignIdentity, reusedIdentity } from '../helpers/identities.js';

function alive(text: string): boolean | undefined {
  const identity = parseIdentity(text);
  assert.ok(identity !== undefined, text);
  return isAlive(identity);
}

test('alive, ended, with a number that was used again, of another machine', () => {
  assert.equal(parseIdentity(ownIdentity())?.pid, process.pid);
  assert.deepEqual([ownIdentity(), endedIdentity(), reusedIdentity(), foreignIdentity()].map(alive), [
    true,
    false,
    false,
    undefined,
  ]);
});

test('a process that was killed but not collected has ended', async () => {
  // The shell collects no child once `exec` has made it a sleep: before, the child must not end.
  const parent = spawn('sh', ['-c', 'sleep 61 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [chunk] = await once(parent.stdout, 'data');
  const pid = Number(String(chunk));
  const later = () => new Promise((resolve) => setTimeout(resolve, 20));
  while (readFileSync(`/proc/${parent.pid}/comm`, 'latin1') !== 'sleep\n') await later();
  process.kill(pid, 'SIGKILL');
  const state = () => /\) (.)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
  while (state() !== 'Z') await later();
  assert.equal(alive(ownIdentity().replace(/-.*/, `-${pid}-1`)), false);
  parent.kill();
});

test('other texts name no process, and the boot has a name', () => {
  for (const text of ['', '7 node3 x', '0123456-7-1', '01234567-7', '01234567-7-1-1', '01234567-7-x'])
    assert.equal(parseIdentity(text), undefined, text);
  assert.match(bootId(), /^[0-9a-f-]{36}$/);
});
