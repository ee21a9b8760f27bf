// The one error class whose message is meant for a user: a sentence that says what is wrong, where, and what to do.

/** Exit codes of the command line: 1 the work failed, 2 the command was used wrongly. */
export type ExitCode = 1 | 2;

/**
 * An error whose message a user reads as it is. The command line prints it without a stack (unless `--debug`) and
 * ends with `exitCode`; library users catch it by class. Anything else that is thrown is a defect of the program.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly exitCode: ExitCode;

  constructor(message: string, options: { exitCode?: ExitCode; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? 1;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node.js system error (`ENOENT`, `ENOSPC` …), or undefined. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Whether LibTorch found no memory, on the device or in the machine; as it said it, or in a UserError. */
export function isMemoryShort(error: unknown): boolean {
  return [error, error instanceof Error ? error.cause : undefined].some((e) => codeOf(e) === 'ERR_TORCH_MEMORY');
}

// ---- values from outside, in messages

/** Whether a value is an object with keys (of JSON, YAML): not null, not a list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a value is: `the text 'many'`, `the number 0.5`, `a list`. Never long. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return `the text '${printable(value)}'`;
    case 'number':
    case 'bigint':
      return `the number ${printable(String(value))}`;
    case 'boolean':
      return value ? 'True' : 'False';
    default:
      return 'a mapping';
  }
}

/** Control characters, line separators, and marks that turn the direction of the text after them. */
const OBEYED = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** A text from outside, cut at `most` characters, without characters that a terminal would obey. */
export function printable(text: string, most = 60): string {
  const short = text.length > most ? `${text.slice(0, most - 1)}…` : text;
  return short.replace(OBEYED, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

// ---- defects: an index that cannot be there is an error, never a made-up number

/** `values[index]`. @throws RangeError where there is no such index */
export function at<T>(values: ArrayLike<T>, index: number): T {
  if (index >= 0 && index < values.length) return values[index] as T;
  throw new RangeError(`Index ${index} is outside an array of length ${values.length}.`);
}

/** What `map` holds for `key`. @throws RangeError where it holds nothing */
export function get<K, V>(map: Pick<ReadonlyMap<K, V>, 'get'>, key: K): V {
  const value = map.get(key);
  if (value === undefined) throw new RangeError(`There is no entry ${String(key)}.`);
  return value;
}
