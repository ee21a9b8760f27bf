// Which process is alive. Its number alone does not tell: other machines and containers use the same numbers, and each
// number is used again. So a process is known by the boot and container in which its number counts, and by its start.
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { at, codeOf } from '../errors.js';

export interface ProcessIdentity {
  /** The boot of a machine and the container in it; a folder may be shared by several. */
  space: string;
  pid: number;
  /** When it started, in clock ticks since the boot. */
  start: string;
}

/** What `startOf` gives where the system does not tell. */
const UNKNOWN = '0';

/** This boot of this machine, the same in all its containers; '' where the system does not tell. */
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

/** When a process started; '' for one that has ended and was not yet collected. */
function startOf(pid: number | 'self'): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return at(fields, 0) === 'Z' || at(fields, 0) === 'X' ? '' : at(fields, 19);
  } catch {
    return UNKNOWN;
  }
}

/** This process as a word that fits into a file name. */
export function ownIdentity(): string {
  return `${processSpace()}-${process.pid}-${startOf('self')}`;
}

/** The process that an `ownIdentity` names; undefined for any other text. */
export function parseIdentity(text: string): ProcessIdentity | undefined {
  const match = /^([0-9a-f]{8})-(\d+)-(\d+)$/.exec(text);
  return match === null ? undefined : { space: at(match, 1), pid: Number(at(match, 2)), start: at(match, 3) };
}

/** Whether a process is alive; undefined for one of another machine or container, about which nothing is known here. */
export function isAlive({ space, pid, start }: ProcessIdentity): boolean | undefined {
  if (space !== processSpace()) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false; // EPERM: another user's process, alive
  }
  const now = startOf(pid);
  return now === UNKNOWN || now === start;
}
