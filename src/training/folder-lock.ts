// One training run at a time in an output folder: two would replace each other's checkpoints.
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cannotWrite } from '../disk/cannot-write.js';
import { makeFolder } from '../disk/folder.js';
import { bootId } from '../disk/process-identity.js';
import { UserError } from '../errors.js';
import { native } from '../torch/native.js';

const NAME = '.training.lock';

/** A run that was just killed may take some seconds to end, above all on a GPU. */
const PATIENCE_MS = 15_000;
const POLL_MS = 100;

export interface FolderLockOptions {
  print(line: string): void;
  /** How long to wait for another run's end, in milliseconds. */
  patienceMs?: number;
}

/**
 * Locks `outputDir`, which is made where it is absent, for a training run until the returned function is called. The
 * kernel holds the lock and releases it when the process ends, by kill -9 too, so a killed run never blocks its
 * resumption; the file stays and says who holds it. On a file system without locks nothing is blocked. A lock that another
 * machine holds is reported and ignored.
 * @throws UserError when another run on this machine holds the folder, or it cannot be written to
 */
export async function lockFolder(
  outputDir: string,
  { print, patienceMs = PATIENCE_MS }: FolderLockOptions,
): Promise<() => void> {
  makeFolder(outputDir);
  const path = join(outputDir, NAME);
  let descriptor: number;
  try {
    // Not emptied on opening: it may be another run's.
    descriptor = openSync(path, 'a+');
  } catch (error) {
    throw cannotWrite(path, error);
  }
  const started = performance.now();
  for (let isTold = false; native().lockFile(descriptor) === false; isTold = true) {
    if (performance.now() - started >= patienceMs) {
      if (isElsewhere(path)) {
        print(
          'Continuing: the lock belongs to another machine, which may have crashed. Make sure no run is still active there.',
        );
        return () => closeSync(descriptor);
      }
      closeSync(descriptor);
      throw new UserError(
        `Another run is training into ${outputDir}${holderOf(path)}, and the two would overwrite each other's checkpoints. Choose another \`outputDir\`, or stop that run.`,
      );
    }
    if (!isTold)
      print(`Another run holds ${outputDir}${holderOf(path)}: waiting up to ${patienceMs / 1000} s for it to end`);
    await sleep(POLL_MS);
  }
  try {
    ftruncateSync(descriptor);
    const since = new Date().toISOString();
    writeSync(descriptor, `process ${process.pid} on ${hostname()}, since ${since}, boot ${bootId()}\n`);
  } catch {
    // A full disk: the lock holds all the same, without a name.
  }
  return () => closeSync(descriptor);
}

function holderOf(path: string): string {
  const line = readFileSync(path, 'utf8')
    .replace(/, boot.*/s, '')
    .trim();
  return line === '' ? '' : ` (${line})`;
}

/**
 * Whether another machine took the lock. A file server keeps the locks of a machine that has crashed for a minute and a
 * half, or until it is back, and a run that was moved to another machine must not wait for that.
 */
function isElsewhere(path: string): boolean {
  const boot = / boot (\S+)\s*$/.exec(readFileSync(path, 'utf8'))?.[1];
  return boot !== undefined && bootId() !== '' && boot !== bootId();
}
