// Temporary files of writers that were killed. The name says which process writes the file, so that a later writer of
// the same file can tell that nobody will finish it, and removes it. A file whose writer may be alive is left alone.
import { randomBytes } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isAlive, ownIdentity, parseIdentity } from './process-identity.js';

const DAY_MS = 86_400_000;

/** A name for a temporary file or folder beside `target` that nobody else has. */
export function temporaryBeside(target: string): string {
  const name = `.${basename(target)}.${ownIdentity()}.${randomBytes(4).toString('hex')}.tmp`;
  return join(dirname(target), name);
}

/**
 * Removes the temporary files and folders beside `target` whose writer has ended. Nothing is known about the writers of
 * other machines: theirs are removed when they are a day old. What cannot be removed is left, silently.
 */
export async function removeStale(target: string): Promise<void> {
  const folder = dirname(target);
  const start = `.${basename(target)}.`;
  for (const name of await readdir(folder).catch(() => [])) {
    const writer = name.startsWith(start) ? /^(.+)\.[0-9a-f]{8}\.tmp$/.exec(name.slice(start.length))?.[1] : undefined;
    const identity = writer === undefined ? undefined : parseIdentity(writer);
    if (identity === undefined) continue;
    const path = join(folder, name);
    const modified = (await stat(path).catch(() => undefined))?.mtimeMs;
    const isOld = modified !== undefined && Date.now() - modified > DAY_MS;
    if (!(isAlive(identity) ?? !isOld)) await rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}
