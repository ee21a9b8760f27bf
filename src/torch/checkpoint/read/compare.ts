// One storage after the other is taken from a shared list and compared with its checksum: by this thread, and by others
// at the same time (compare-worker.ts).
import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { crc32 } from 'node:zlib';

/** A storage of the file, and the sum that its bytes should have. */
export interface Summed {
  readonly fileOffset: number;
  readonly bytes: number;
  readonly crc32: number;
}

/** What the threads share. The file is open once: a thread uses the same descriptor, so that all read the same file. */
export interface Comparison {
  readonly fd: number;
  readonly storages: readonly Summed[];
  /** (1) The storage that is taken next. */
  readonly next: Int32Array;
  /** (storages) An Outcome of each. */
  readonly outcomes: Int32Array;
}

export const Outcome = { open: 0, equal: 1, differs: 2, short: 3 } as const;
type Outcome = (typeof Outcome)[keyof typeof Outcome];

/** A chunk stays in the processor's cache between reading and summing. */
const CHUNK = 256 * 1024;
/** Reading ahead, in the system's threads, needs larger ones. */
const ASYNC_CHUNK = 1024 * 1024;
/** What a thread should have to do, since its start takes as long as summing some 60 MB. */
const BYTES_A_THREAD = 256 * 1024 * 1024;
/** More would wait for memory. */
const MOST_THREADS = 4;

const now = (sum: number, expected: number): Outcome => (sum === expected ? Outcome.equal : Outcome.differs);

/** Takes and compares storages until none is left. Where reading fails, the storage stays open. */
export function compareHere({ fd, storages, next, outcomes }: Comparison): void {
  const chunk = Buffer.allocUnsafe(CHUNK);
  const compare = ({ fileOffset, bytes, crc32: expected }: Summed): Outcome => {
    let sum = 0;
    for (let done = 0; done < bytes; ) {
      const got = readSync(fd, chunk, 0, Math.min(CHUNK, bytes - done), fileOffset + done);
      if (got === 0) return Outcome.short;
      sum = crc32(chunk.subarray(0, got), sum);
      done += got;
    }
    return now(sum, expected);
  };
  for (let i = take(next); i < storages.length; i = take(next))
    finish(i, compare(storages[i] as Summed), next, outcomes);
}

const take = (next: Int32Array) => Atomics.add(next, 0, 1);

function finish(i: number, outcome: Outcome, next: Int32Array, outcomes: Int32Array): void {
  Atomics.store(outcomes, i, outcome);
  if (outcome !== Outcome.equal) Atomics.store(next, 0, outcomes.length); // the others need not be taken any more
}

/** The same, while the event loop turns: one storage is read while another's sum is taken. @throws what reading throws */
async function compareBetween(file: FileHandle, { storages, next, outcomes }: Comparison): Promise<void> {
  const compare = async ({ fileOffset, bytes, crc32: expected }: Summed, chunk: Buffer): Promise<Outcome> => {
    let sum = 0;
    for (let done = 0; done < bytes; ) {
      const { bytesRead } = await file.read(chunk, 0, Math.min(chunk.length, bytes - done), fileOffset + done);
      if (bytesRead === 0) return Outcome.short;
      sum = crc32(chunk.subarray(0, bytesRead), sum);
      done += bytesRead;
    }
    return now(sum, expected);
  };
  const loop = async () => {
    const chunk = Buffer.allocUnsafe(ASYNC_CHUNK);
    for (let i = take(next); i < storages.length; i = take(next))
      finish(i, await compare(storages[i] as Summed, chunk), next, outcomes);
  };
  await Promise.all([loop(), loop()]);
}

/** How many threads, this one included, compare so many bytes where `ranks` processes do so at the same time. */
export function threadsFor(bytes: number, ranks = 1): number {
  const cores = Math.floor(availableParallelism() / ranks);
  return Math.max(1, Math.min(MOST_THREADS, cores, Math.floor(bytes / BYTES_A_THREAD)));
}

/**
 * Compares all, in `threads` threads. @returns the first storage found that is not equal, and how; undefined where all are.
 * @throws what reading throws
 */
export async function compareAll<S extends Summed>(
  file: FileHandle,
  storages: readonly S[],
  threads: number,
): Promise<{ storage: S; outcome: 'differs' | 'short' } | undefined> {
  // The largest first: else the last thread to take one might get it, and the others wait.
  const sorted = [...storages].sort((a, b) => b.bytes - a.bytes);
  const shared = (length: number) => new Int32Array(new SharedArrayBuffer(4 * length));
  const comparison: Comparison = {
    fd: file.fd,
    storages: sorted.map(({ fileOffset, bytes, crc32: sum }) => ({ fileOffset, bytes, crc32: sum })),
    next: shared(1),
    outcomes: shared(sorted.length),
  };
  const helpers = Array.from({ length: threads - 1 }, () => help(comparison));
  try {
    await compareBetween(file, comparison);
  } finally {
    // This thread is through: nothing is left to take. What others have taken they finish, while the file is open.
    Atomics.store(comparison.next, 0, sorted.length);
    await Promise.all(helpers);
  }
  const found = sorted.find(
    (_, i) => comparison.outcomes[i] !== Outcome.equal && comparison.outcomes[i] !== Outcome.open,
  );
  const result = (storage: S, outcome: number | undefined) =>
    ({ storage, outcome: outcome === Outcome.short ? 'short' : 'differs' }) as const;
  if (found !== undefined) return result(found, comparison.outcomes[sorted.indexOf(found)]);
  // A thread that did not start has taken none; one that failed leaves what it had taken, perhaps with a reason of its own.
  const left = sorted.filter((_, i) => comparison.outcomes[i] === Outcome.open);
  if (left.length === 0) return undefined;
  return compareAll(file, left, 1);
}

/** A thread that compares, too. @returns when it has ended, in whatever way */
function help(comparison: Comparison): Promise<void> {
  return new Promise((resolve) => {
    const thread = new Worker(new URL('./compare-worker.js', import.meta.url), {
      name: 'checksums',
      workerData: comparison,
      // A worker does not start with some flags of the main thread, such as --eval.
      execArgv: [],
    });
    // Its failure is nothing to report: what it leaves undone, this thread does.
    thread.on('error', () => {});
    thread.on('exit', () => resolve());
  });
}
