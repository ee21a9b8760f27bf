// Room on a disk: what is free, what a folder takes, and the sentence when something will not fit.
import { lstatSync, readdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.js';

/** Bytes that this user may still write in `folder`; infinite where the file system does not tell. */
export function freeBytes(folder: string): number {
  try {
    const { bavail, bsize, blocks } = statfsSync(folder);
    return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize; // some network file systems report nothing
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** The sentence for `what`, of so many bytes, that does not fit into `folder`; undefined where it fits. */
export function spaceDefect(folder: string, bytes: number, what: string): string | undefined {
  const free = freeBytes(folder);
  if (bytes <= free) return undefined;
  return `Not enough room for ${what} in ${folder}: ${formatBytes(bytes)} needed, ${formatBytes(free)} free.`;
}

/** @param remedy a sentence @throws UserError where `what` does not fit into `folder` */
export function demandSpace(folder: string, bytes: number, what: string, remedy: string): void {
  const defect = spaceDefect(folder, bytes, what);
  if (defect !== undefined) throw new UserError(`${defect} ${remedy}`);
}

/** Bytes of every regular file below `path` (links are not followed); 0 for what is not there or may not be read. */
export function bytesBelow(path: string): number {
  try {
    const info = lstatSync(path, { throwIfNoEntry: false });
    if (info?.isDirectory() !== true) return info?.isFile() === true ? info.size : 0;
    return readdirSync(path).reduce((sum, name) => sum + bytesBelow(join(path, name)), 0);
  } catch {
    return 0; // a part of the path is a file, or another user's
  }
}

/** `543.6 MB`: decimal units with one digit, as package indexes print them. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  let value = bytes / 1000;
  for (const unit of ['kB', 'MB', 'GB']) {
    if (value < 1000) return `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}
