// A temporary folder for checkpoints and images of a measurement, removed at its end, however it ends.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Calls `work` with a fresh folder (under TMPDIR) and removes it afterwards, also after SIGINT and SIGTERM. */
export async function withScratch<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'blip-bench-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const interrupted = () => process.exit(130);
  const terminated = () => process.exit(143);
  process.once('exit', remove).once('SIGINT', interrupted).once('SIGTERM', terminated);
  try {
    return await work(folder);
  } finally {
    process.off('exit', remove).off('SIGINT', interrupted).off('SIGTERM', terminated);
    remove();
  }
}
