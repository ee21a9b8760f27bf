// Passing on what a child prints, line by line.
import type { Readable, Writable } from 'node:stream';

/** What Node prints after an error that nobody caught says where, not what. */
const TRACE = /^\s*at |^Node\.js v\d|^\s*\^+\s*$/;

/**
 * Copies the lines of `from` to `to`, each after `mark`; without a mark as they come, so that a progress bar moves.
 * @returns a function that gives the last line so far that says something: the last `error: …`, else the last one
 * that is no part of a stack
 */
export function passLines(from: Readable, to: Writable, mark: string): () => string {
  let partial = '';
  let last = '';
  let error = '';
  const note = (line: string) => {
    const text = line.slice(line.lastIndexOf('\r') + 1).trimEnd();
    if (text.startsWith('error: ')) error = text;
    else if (text !== '' && !TRACE.test(text)) last = text;
    if (mark !== '') to.write(`${mark}${line}\n`);
  };
  from.setEncoding('utf8');
  from.on('data', (text: string) => {
    if (mark === '') to.write(text);
    const lines = (partial + text).split('\n');
    partial = lines.pop() ?? '';
    for (const line of lines) note(line);
  });
  from.on('end', () => {
    if (partial !== '') note(partial);
    partial = '';
  });
  return () => error || last;
}
