// Tables of flags on the command line, and what a parsed command line says of them.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { camelCased } from '../config/camel-case.js';
import type { FlagTable, FlagValues } from '../config/flag.js';
import { roomOf, wrapped } from '../logging/terminal.js';

/** Declares the flags of `table`. One whose initial value is a list may be repeated. */
export function addFlags(command: Command, table: FlagTable): Command {
  for (const [name, { value, help, initial, parse, implied }] of Object.entries(table)) {
    const option = new Option(`--${name} ${value}`.trimEnd(), help);
    if (Array.isArray(initial)) option.argParser((text, previous: string[] = []) => [...previous, text]);
    else if (typeof parse === 'function') option.argParser((text) => parsed(text, parse));
    else if (parse !== undefined) option.choices(parse.map(String));
    if (typeof initial === 'string' || typeof initial === 'number') option.default(initial);
    if (implied !== undefined) option.preset(implied);
    command.addOption(option);
  }
  return command;
}

/** A paragraph below the options, given in lines of 80 columns: on a narrower terminal in lines that fit. */
export function addProse(command: Command, text: string): Command {
  return command.addHelpText('after', () => {
    const columns = roomOf(process.stdout);
    if (columns >= 79) return text;
    return text
      .split('\n\n')
      .map((part) => wrapped(part.replace(/(\S)\n(?=\S)/g, '$1 '), columns, 0))
      .join('\n\n');
  });
}

/** What `parse` makes of the text; its error becomes one that commander prints with the flag's name. */
function parsed(text: string, parse: (text: string) => unknown): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw error instanceof RangeError ? new InvalidArgumentError(error.message) : error;
  }
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

/** A sentence that names options of a table (`skipBadImages`) as a user of the command line reads it (--skip_bad_images). */
export function withFlagNames(message: string, table: FlagTable): string {
  const flags = new Map(Object.entries(camelCased(namesOf(table))));
  return message.replace(/`(\w+)`/g, (quoted, name: string) => flags.get(name) ?? quoted);
}

const namesOf = (table: FlagTable) => Object.fromEntries(Object.keys(table).map((name) => [name, `--${name}`]));
