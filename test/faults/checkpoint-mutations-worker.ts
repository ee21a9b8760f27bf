// A child process of checkpoint-mutations.test.ts: mutates checkpoint files, opens each as a user would, and reports the
// outcome by IPC.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { at, messageOf, UserError } from '#blip/errors.js';
import { flattenCheckpoint, openCheckpoint, stateDictOf, tensorSums } from '#blip/torch/checkpoint/index.js';
import { baseOf, mutation } from './mutations.js';

/** What the parent wants: mutations `first` to `first + count` of the files, or the last file as it is. */
export interface Task {
  files: string[];
  folder: string;
  seed: number;
  first: number;
  /** 0: open only the last file, once, after the others have warmed up the process. */
  count: number;
}

export interface Report {
  /** Number of the next mutation; the parent watches that it rises. */
  at: number;
  opened: number;
  refused: number;
  /** The error, if it was not a UserError. */
  failure?: string;
  /** Peak memory after warming up and now, in bytes, and the size of the largest file opened. */
  baseline: number;
  peak: number;
  largest: number;
}

/** Does everything that the product does with a checkpoint; false if it is refused. Throws what is not a UserError. */
function use(path: string): boolean {
  try {
    const checkpoint = openCheckpoint(path);
    const { tensors } = flattenCheckpoint(checkpoint);
    tensorSums(checkpoint, tensors);
    try {
      stateDictOf(checkpoint);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
    }
    return true;
  } catch (error) {
    if (error instanceof UserError && error.message.includes(path)) return false;
    throw error;
  }
}

/** Peak memory of this process, in bytes. Not getrusage's, which a child inherits from its parent. */
function peak(): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  if (kilobytes === undefined) throw new Error('/proc/self/status has no VmHWM');
  return Number(kilobytes) * 1024;
}

function run({ files, folder, seed, first, count }: Task): void {
  const bases = count === 0 ? [] : files.map((path) => baseOf(readFileSync(path)));
  const warmUp = count === 0 ? files.slice(0, -1) : files;
  for (const path of [...warmUp, ...warmUp]) use(path);
  const report: Report = { at: first, opened: 0, refused: 0, baseline: peak(), peak: 0, largest: 0 };
  const send = () => process.send?.({ ...report, peak: peak() });
  const attempt = (path: string) => {
    if (use(path)) report.opened += 1;
    else report.refused += 1;
  };
  send();
  try {
    if (count === 0) attempt(at(files, files.length - 1));
    const path = join(folder, `${process.pid}.pth`);
    for (; report.at < first + count; report.at++) {
      const bytes = mutation(bases, seed, report.at);
      report.largest = Math.max(report.largest, bytes.length);
      writeFileSync(path, bytes);
      attempt(path);
      if (report.at % 20 === 0) send();
    }
  } catch (error) {
    report.failure = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
  }
  send();
}

process.once('message', (task: Task) => run(task));
