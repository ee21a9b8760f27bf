// How much of a mapped file is in this process's memory.
import { readFileSync } from 'node:fs';

/** Bytes of `path`'s mappings that are resident (Rss of /proc/self/smaps). */
export function residentOf(path: string): number {
  let isOfFile = false;
  let bytes = 0;
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    // 7f…-7f… rw-p 00000000 08:01 123   /the/path
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isOfFile = line.endsWith(` ${path}`);
    const [, kB] = /^Rss:\s+(\d+) kB$/.exec(line) ?? [];
    if (isOfFile && kB !== undefined) bytes += Number(kB) * 1024;
  }
  return bytes;
}
