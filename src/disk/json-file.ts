// JSON that may be absent, cut short or something else than expected.
import { readFileSync } from 'node:fs';
import type { z } from 'zod';

/** What is in a JSON file, or undefined where it cannot be read or is not as `schema` says. */
export function readJson<T>(path: string, schema: z.ZodType<T>): T | undefined {
  try {
    return parseJson(readFileSync(path, 'utf8'), schema);
  } catch {
    return undefined;
  }
}

/** What a JSON text says, or undefined where it is none or is not as `schema` says. */
export function parseJson<T>(text: string, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
