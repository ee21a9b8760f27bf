// Commands that are printed to be copied.
import type { ProgressStream } from '../logging/progress-bar.js';
import { roomOf } from '../logging/terminal.js';
import { widthOf } from '../logging/width.js';

/** Quoted where a shell would take it apart. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The program as a user of the package starts it. */
const PROGRAM = 'npx blip-retrieval';

/**
 * A command of this program, indented, for lines of its own. On a terminal too narrow for one line it goes on over several,
 * which end in a backslash: a shell takes them for one. Breaks are between `parts`, so that a flag keeps its value.
 * @param parts operands, and flags with their values, as a shell reads them
 */
export function commandText(name: string, parts: readonly string[], stream: ProgressStream = process.stdout): string {
  const columns = roomOf(stream);
  const lines: string[] = [];
  let line = `  ${PROGRAM} ${name}`;
  for (const [i, part] of parts.entries()) {
    const backslash = i === parts.length - 1 ? 0 : ' \\'.length;
    if (widthOf(`${line} ${part}`) + backslash <= columns) line += ` ${part}`;
    else {
      lines.push(`${line} \\`);
      line = `    ${part}`;
    }
  }
  return [...lines, line].join('\n');
}

/** `--name value` of each flag whose value is not undefined. */
export function flagParts(flags: Readonly<Record<string, string | number | undefined>>): string[] {
  return Object.entries(flags).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name} ${shellWord(String(value))}`],
  );
}
