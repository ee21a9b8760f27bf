// The user cache: where downloads, unpacked LibTorch folders and small recorded facts are kept.
import { lstatSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/** The cache folder (it may not exist yet): $BLIP_CACHE, else $XDG_CACHE_HOME/blip-retrieval, else ~/.cache/blip-retrieval. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.BLIP_CACHE) return resolve(env.BLIP_CACHE);
  // The XDG base directory rules say that a relative value is to be ignored.
  const base = env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME) ? env.XDG_CACHE_HOME : undefined;
  return join(base ?? join(env.HOME || homedir(), '.cache'), 'blip-retrieval');
}

/** Bytes of every regular file below `path` (links are not followed); 0 where there is nothing. */
export function bytesBelow(path: string): number {
  const info = lstatSync(path, { throwIfNoEntry: false });
  if (!info) return 0;
  if (!info.isDirectory()) return info.isFile() ? info.size : 0;
  return readdirSync(path).reduce((sum, name) => sum + bytesBelow(join(path, name)), 0);
}

/** `543.6 MB`: decimal units with one digit, as package indexes print them. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 'B';
  for (const next of units) {
    if (value < 1000) break;
    value /= 1000;
    unit = next;
  }
  return `${value.toFixed(1)} ${unit}`;
}

/** Whether an environment variable says yes: set, and neither empty, `0`, `false` nor `no`. */
export function isYes(value: string | undefined): boolean {
  return value !== undefined && !['', '0', 'false', 'no'].includes(value.toLowerCase());
}
