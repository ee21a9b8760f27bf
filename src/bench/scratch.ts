// Temporary folders for checkpoints and images of a measurement.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Makes a folder (under TMPDIR) that is removed when this process ends, also after SIGINT and SIGTERM. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'blip-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  process.once('SIGINT', () => process.exit(130)).once('SIGTERM', () => process.exit(143));
  return folder;
}
