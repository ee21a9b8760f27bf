// One at a time: a lock file that a second process waits for, and that a killed one does not leave shut.
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, messageOf, UserError } from '../errors.js';

/** The holder touches its file this often; a file left alone for `staleMs` has no holder (another host's, say). */
const beatMs = 2_000;
const staleMs = 30_000;

interface Holder {
  pid: number;
  host: string;
}

function readHolder(path: string): Holder | undefined {
  try {
    const [pid, host] = readFileSync(path, 'utf8').trim().split(' ');
    return pid !== undefined && host !== undefined ? { pid: Number(pid), host } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a process of this host lives. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

function isStale(path: string, holder: Holder | undefined): boolean {
  const info = statSync(path, { throwIfNoEntry: false });
  if (!info) return false;
  if (Date.now() - info.mtimeMs > staleMs) return true;
  return holder !== undefined && holder.host === hostname() && holder.pid !== process.pid && !isAlive(holder.pid);
}

function tryTake(path: string): boolean {
  try {
    writeFileSync(path, `${process.pid} ${hostname()} ${randomUUID()}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw new UserError(`Cannot write the lock file ${path}: ${messageOf(error)}; make its folder writable.`);
  }
}

/**
 * Runs `work` while holding the lock file `path`. `onWait` is called once, with the holder's process id, when another
 * process is at it. The lock spares double work; what it guards must be harmless without it too (write aside, rename).
 */
export async function withLock<T>(path: string, onWait: (pid: number) => void, work: () => Promise<T>): Promise<T> {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (error) {
    throw new UserError(`Cannot create ${dirname(path)}: ${messageOf(error)}; make it writable or set BLIP_CACHE.`);
  }
  let told = false;
  while (!tryTake(path)) {
    const holder = readHolder(path);
    if (isStale(path, holder)) {
      // Renamed first, so that of two who see it stale only one clears it away.
      const aside = `${path}.${randomUUID()}`;
      try {
        renameSync(path, aside);
        rmSync(aside, { force: true });
      } catch {
        // The other one was quicker.
      }
      continue;
    }
    if (!told && holder) {
      onWait(holder.pid);
      told = true;
    }
    await sleep(200);
  }
  const beat = setInterval(() => {
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // Removed by hand: the work goes on, and is harmless without the lock.
    }
  }, beatMs);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    rmSync(path, { force: true });
  }
}
