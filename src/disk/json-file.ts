// JSON from outside, which may be absent, cut short or another thing than expected.
import { readFileSync } from 'node:fs';
import type { z } from 'zod';

/** What is in a JSON file, or undefined where it cannot be read or is not as `schema` says. */
export function readJson<T>(path: string, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

/** Whether a parsed value is a JSON object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
