// One at a time: a lock file that a second process waits for. A process that was killed does not keep others out.
import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from '../errors.js';
import { cannotWrite } from './cannot-write.js';
import { makeFolder } from './folder.js';
import { isAlive, ownIdentity, type ProcessIdentity, parseIdentity } from './process-identity.js';

/** The holder touches its file this often: that of another machine is stale when nobody has touched it for `STALE_MS`. */
const BEAT_MS = 2_000;
const STALE_MS = 30_000;
const POLL_MS = 200;

export interface LockOptions {
  /** Called once, with the holder's process id, when another process holds the lock. */
  onWait?: ((pid: number) => void) | undefined;
  /** Ends the wait with an AbortError. */
  signal?: AbortSignal | undefined;
}

function readHolder(path: string): ProcessIdentity | undefined {
  try {
    return parseIdentity(readFileSync(path, 'utf8').trim());
  } catch {
    return undefined;
  }
}

function isStale(path: string, holder: ProcessIdentity | undefined): boolean {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined) return false;
  return Date.now() - info.mtimeMs > STALE_MS || (holder !== undefined && isAlive(holder) === false);
}

function tryTake(path: string): boolean {
  try {
    writeFileSync(path, `${ownIdentity()}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw cannotWrite(path, error);
  }
}

/**
 * Runs `work` while holding the lock file `path`. The lock saves double work; what it guards must be harmless without it
 * too (written aside, then renamed).
 * @throws UserError where the file cannot be written
 */
export async function withLock<T>(path: string, { onWait, signal }: LockOptions, work: () => Promise<T>): Promise<T> {
  makeFolder(dirname(path));
  for (let isTold = false; !tryTake(path); ) {
    const holder = readHolder(path);
    if (isStale(path, holder)) {
      // Renamed first, so that of two who see it stale only one removes it.
      const aside = `${path}.${randomUUID()}`;
      try {
        renameSync(path, aside);
        rmSync(aside, { force: true });
      } catch {
        // The other one was quicker.
      }
      continue;
    }
    if (!isTold && holder !== undefined) {
      onWait?.(holder.pid);
      isTold = true;
    }
    await sleep(POLL_MS, undefined, { signal });
  }
  const beat = setInterval(() => {
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // Removed by hand: the work is harmless without the lock.
    }
  }, BEAT_MS);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    rmSync(path, { force: true });
  }
}
