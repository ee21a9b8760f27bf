// Processes as a lock file or a temporary file names them: one that has ended, one of another machine.
import { spawnSync } from 'node:child_process';
import { ownIdentity } from '#blip/disk/process-identity.js';

/** A process of this machine that has ended. */
export function endedIdentity(): string {
  return ownIdentity().replace(/-.*/, `-${spawnSync(process.execPath, ['-e', '']).pid}-1`);
}

/** One that has ended, and whose number this process has now. */
export function reusedIdentity(): string {
  return ownIdentity().replace(/\d+$/, '1');
}

/** Process 7 of another machine. */
export function foreignIdentity(): string {
  return ownIdentity().replace(/^(.)(.{7}).*/, (_, first, rest) => `${first === '0' ? '1' : '0'}${rest}-7-1`);
}
