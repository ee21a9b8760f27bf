// Flags: each declared once, in a table from which come the command line, its defaults and the types of the options.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type CamelCased, camelCased } from '../config/camel-case.js';

/** A flag with values of type T; its name is its key in a table. */
export interface Flag<T> {
  /** `<file>`; `[file]` where it may be left out, which then means `implied`; '' for a switch. */
  value: string;
  help: string;
  /** Its value where it is not given. */
  initial: T;
  /** What the text on the command line means, or the texts that are allowed. @throws InvalidArgumentError */
  parse?: ((text: string) => T) | readonly T[];
  implied?: T;
}

export type FlagTable = Readonly<Record<string, Flag<unknown>>>;

/** What the flags of a table say, under their names in camelCase. */
export type FlagValues<F extends FlagTable> = CamelCased<{ [K in keyof F]: F[K] extends Flag<infer T> ? T : never }>;

export function flag<T>(value: string, help: string, initial: T, parse?: Flag<T>['parse']): Flag<T> {
  return { value, help, initial, ...(parse && { parse }) };
}

/** Declares the flags of `table`. One whose initial value is a list may be repeated. */
export function addFlags(command: Command, table: FlagTable): Command {
  for (const [name, { value, help, initial, parse, implied }] of Object.entries(table)) {
    const option = new Option(`--${name} ${value}`.trimEnd(), help);
    if (Array.isArray(initial)) option.argParser((text, previous: string[] = []) => [...previous, text]);
    else if (typeof parse === 'function') option.argParser(parse);
    else if (parse !== undefined) option.choices(parse.map(String));
    if (typeof initial === 'string' || typeof initial === 'number') option.default(initial);
    if (implied !== undefined) option.preset(implied);
    command.addOption(option);
  }
  return command;
}

/** What a parsed command line says of the flags of `table`; of a command that parsed nothing: their initial values. */
export function flagValues<F extends FlagTable>(command: Command, table: F): FlagValues<F> {
  const given = command.opts<Record<string, unknown>>();
  const values = Object.entries(table).map(([name, { initial }]) => [name, given[name] ?? initial]);
  return camelCased(Object.fromEntries(values)) as FlagValues<F>;
}

/** Those flags of `table` that the command line gives. */
export function givenFlags(command: Command, table: FlagTable): string[] {
  return Object.keys(table).filter((name) => command.getOptionValueSource(name) === 'cli');
}

/** A parser of whole numbers of at least `least`. */
export function whole(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number, ${least} or more.`);
  };
}
