// What two runs of the same training must have written alike: all but how fast they were.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The files that are compared. */
export const RESULTS = ['log.txt', 'metrics.jsonl', 'checkpoint_last.pth', 'checkpoint_best.pth'] as const;
export type ResultName = (typeof RESULTS)[number];

/** metrics.jsonl without the fields that time and memory decide; any other file as it is. */
export function comparable(name: string, bytes: Buffer): Buffer {
  if (name !== 'metrics.jsonl') return bytes;
  const speed = /,"(data_wait|images_per_second|memory_mib)":[\d.e+-]+/g;
  return Buffer.from(bytes.toString().replace(speed, ''));
}

/** Throws unless a file of two output folders is the same. */
export function assertSameResult(name: string, one: string, other: string): void {
  const [a, b] = [one, other].map((folder) => comparable(name, readFileSync(join(folder, name))));
  assert.ok(a && b?.equals(a), `${name} differs`);
}
