// Flags and options: each declared once, in a table from which come the command line, its defaults and the types.
import type { CamelCased } from './camel-case.js';

/** A flag with values of type T; its name is its key in a table. */
export interface Flag<T> {
  /** `<file>`; `[file]` where it may be left out, which then means `implied`; '' for a switch. */
  value: string;
  help: string;
  /** Its value where it is not given. */
  initial: T;
  /** What the text on the command line means, or the texts that are allowed. @throws RangeError */
  parse?: ((text: string) => T) | readonly T[];
  implied?: T;
}

export type FlagTable = Readonly<Record<string, Flag<unknown>>>;

/** What the flags of a table say, under their names in camelCase. */
export type FlagValues<F extends FlagTable> = CamelCased<{ [K in keyof F]: F[K] extends Flag<infer T> ? T : never }>;

export function flag<T>(value: string, help: string, initial: T, parse?: Flag<T>['parse']): Flag<T> {
  return { value, help, initial, ...(parse && { parse }) };
}

/** A parser of whole numbers of at least `least`, and at most `most`. */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    const range = most === Number.MAX_SAFE_INTEGER ? `, ${least} or more` : ` from ${least} to ${most}`;
    throw new RangeError(`Expected a whole number${range}.`);
  };
}
