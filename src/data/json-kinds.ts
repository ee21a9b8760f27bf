// Values of JSON in messages.
import { printable } from '../errors.js';

/** The name of a JSON value in an error message. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (value === '') return 'an empty string';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return 'a string';
  return `${typeof value === 'bigint' ? 'number' : typeof value} ${printable(String(value))}`;
}

/** `a, b and c`; never long. */
export function listed(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  const shown = names.slice(0, 6).map((name) => printable(name, 30));
  if (names.length > shown.length) shown.push(`${names.length - shown.length} more`);
  const last = shown.pop();
  return shown.length === 0 ? `${last}` : `${shown.join(', ')} and ${last}`;
}
