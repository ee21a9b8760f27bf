// Texts of a file or of standard input, one a line.
import { createReadStream } from 'node:fs';
import { messageOf, printable, UserError } from '../errors.js';

/** The name that stands for standard input. */
export const STDIN = '-';

/** The lines of `path`, or of standard input; blank ones are left out. @throws UserError where they cannot be read */
export async function textLines(path: string): Promise<string[]> {
  const shown = path === STDIN ? 'Standard input' : printable(path, 200);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const lines: string[] = [];
  let rest = '';
  const take = (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) if (part.trim() !== '') lines.push(part.trim());
  };
  try {
    const stream: AsyncIterable<Buffer> = path === STDIN ? process.stdin : createReadStream(path);
    for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
    take(`${decoder.decode()}\n`);
  } catch (error) {
    const isText = error instanceof TypeError;
    const what = isText ? 'is not text in UTF-8. Convert it' : `cannot be read (${messageOf(error)}). Check the path`;
    throw new UserError(`${shown} ${what}.`, { cause: error });
  }
  return lines;
}
