// The version of this package.
import { readFileSync } from 'node:fs';

/** What package.json says. */
export function packageVersion(): string {
  const described: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const isObject = typeof described === 'object' && described !== null && 'version' in described;
  return isObject ? String(described.version) : 'unknown';
}
