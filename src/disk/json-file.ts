// JSON that may be absent, cut short or something else than expected.
import { readFileSync } from 'node:fs';

/** What checks a value: a schema of zod, or a function by hand. */
interface Check<T> {
  /** @throws where it is not as expected */
  parse(value: unknown): T;
}

/** What is in a JSON file, or undefined where it cannot be read or is not as `schema` says. */
export function readJson<T>(path: string, schema: () => Check<T>): T | undefined {
  try {
    return parseJson(readFileSync(path, 'utf8'), schema);
  } catch {
    return undefined;
  }
}

/** What a JSON text says, or undefined where it is none or is not as `schema` says. */
export function parseJson<T>(text: string, schema: () => Check<T>): T | undefined {
  try {
    return schema().parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
