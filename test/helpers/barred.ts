// What a user meets who may not enter a folder; root enters every one.
import { chmodSync } from 'node:fs';

const NOBODY = 65534;

/** Runs `work`, which does everything at once, as a user who may not enter `folder`. */
export function barredFrom<T>(folder: string, work: () => T): T {
  chmodSync(folder, 0o000);
  const own = process.geteuid?.();
  try {
    if (own === 0) process.seteuid?.(NOBODY);
    return work();
  } finally {
    if (own === 0) process.seteuid?.(0);
    chmodSync(folder, 0o755);
  }
}
