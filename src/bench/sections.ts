// Parts of a Markdown file that a program writes, each between two comments that name it; what is around them is people's.
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { UserError } from '../errors.js';

/** A comment ends at `-->`, and HTML allows no `--` in it. */
const beginOf = (name: string) => `<!-- bench all: ${name.replace(/-{2,}/g, '-')} -->`;
const endOf = (name: string) => `<!-- end of bench all: ${name.replace(/-{2,}/g, '-')} -->`;
/** Behind which a new section goes: the end of any other, or the comment that shows the place of the first. */
const ANY_END = /^<!-- (?:end of bench all: .*|bench all) -->$/gm;

/** What stands in the section `name` of `text`, and where; undefined where it has none. @throws UserError for half a section */
function find(file: string, text: string, name: string) {
  const [begin, end] = [beginOf(name), endOf(name)];
  const first = text.indexOf(begin);
  const last = text.indexOf(end, Math.max(0, first));
  if (first < 0 && last < 0) return undefined;
  if (first < 0 || last < 0) {
    const [has, lacks] = first < 0 ? [end, begin] : [begin, end];
    throw new UserError(`${file} has the line ${has} without ${lacks}. Remove it, or add the other.`);
  }
  return { first, body: text.slice(first + begin.length, last).trim(), last: last + end.length };
}

/** @throws UserError where the section could not be replaced: asked before what is written takes half an hour to measure */
export function demandSection(file: string, name: string): void {
  if (existsSync(file)) find(file, readFileSync(file, 'utf8'), name);
  else if (!existsSync(dirname(file)))
    throw new UserError(`The folder ${dirname(file)} of --write does not exist. Create it first.`);
}

/**
 * Replaces the section `name` of `file` by what `made` makes of the old one; a new one goes behind the others, where there
 * are none behind `<!-- bench all -->`, else to the end of the file. The rest of the file stays as it is, byte by byte; a file that is not there is made.
 * @throws UserError where the file cannot be written, or has half a section
 */
export async function writeSection(file: string, name: string, made: (before: string) => string): Promise<void> {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const found = find(file, text, name);
  const section = `${beginOf(name)}\n\n${made(found?.body ?? '').trim()}\n\n${endOf(name)}`;
  await writeFileAtomically(file, (to) => to.write(Buffer.from(placed(text, section, found))));
}

function placed(text: string, section: string, found: { first: number; last: number } | undefined): string {
  if (found !== undefined) return text.slice(0, found.first) + section + text.slice(found.last);
  const others = [...text.matchAll(ANY_END)].at(-1);
  const place = others === undefined ? text.trimEnd().length : others.index + others[0].length;
  const [before, after] = [text.slice(0, place), text.slice(place)];
  return `${before === '' ? '' : `${before}\n\n`}${section}${after === '' ? '\n' : after}`;
}
