// Temporary files of writers that were killed. A writer's process is part of the name, so that a later writer of the
// same file can tell that nobody will finish it, and clears it away; one that may be alive is left alone.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { readdir, stat, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { codeOf } from '../errors.js';

const DAY_MS = 86_400_000;

interface Writer {
  /** Where `pid` means something: a boot of a machine, and a container in it. A folder may be shared by several. */
  space: string;
  pid: number;
  /** When it started, in ticks since the boot: the number `pid` is used again. */
  start: string;
}

/** Which start of which machine this is, its containers included; '' where the system does not tell. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

function processSpace(): string {
  let name = bootId() || hostname();
  try {
    name += readlinkSync('/proc/self/ns/pid');
  } catch {
    // Without /proc the host's name has to do.
  }
  return createHash('sha256').update(name).digest('hex').slice(0, 8);
}

/** When a process started; '0' where the system does not tell, '' for one that has ended and was not yet collected. */
function startOf(pid: number | 'self'): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '0');
  } catch {
    return '0';
  }
}

function hasEnded({ pid, start }: Writer): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return codeOf(error) === 'ESRCH'; // EPERM: somebody else's, alive
  }
  const now = startOf(pid);
  return now !== '0' && now !== start;
}

/** A name for a temporary file beside `target` that nobody else has. */
export function temporaryBeside(target: string): string {
  const writer = `${processSpace()}-${process.pid}-${startOf('self')}`;
  return join(dirname(target), `.${basename(target)}.${writer}.${randomBytes(4).toString('hex')}.tmp`);
}

function writerOf(name: string, target: string): Writer | undefined {
  const start = `.${basename(target)}.`;
  if (!name.startsWith(start)) return undefined;
  const [, space, pid, started] = /^([0-9a-f]{8})-(\d+)-(\d+)\.[0-9a-f]{8}\.tmp$/.exec(name.slice(start.length)) ?? [];
  return space === undefined || started === undefined ? undefined : { space, pid: Number(pid), start: started };
}

/**
 * Removes the temporary files beside `target` whose writer has ended. Of another machine's writers nothing is known:
 * theirs go when they have not been written to for a day. What cannot be removed is left, silently.
 */
export async function removeStale(target: string): Promise<void> {
  const folder = dirname(target);
  const here = processSpace();
  for (const name of await readdir(folder).catch(() => [])) {
    const writer = writerOf(name, target);
    if (writer === undefined) continue;
    const path = join(folder, name);
    const written = (await stat(path).catch(() => undefined))?.mtimeMs ?? Number.POSITIVE_INFINITY;
    const stale = writer.space === here ? hasEnded(writer) : Date.now() - written > DAY_MS;
    if (stale) await unlink(path).catch(() => undefined);
  }
}
