// Forwards what a child process prints, line by line.
import type { Readable, Writable } from 'node:stream';

/** The lines that Node prints around an uncaught error: a stack, a caret, its version. */
const TRACE = /^\s*at |^Node\.js v\d|^\s*\^+\s*$/;

/**
 * Copies the lines of `from` to `to`, each after `prefix`; with an empty prefix unbuffered, so that a progress bar moves.
 * @returns a function that gives the last error so far: the last line `error: …`, or for which `explain` has a sentence;
 * else the last one outside a stack
 */
export function forwardLines(
  from: Readable,
  to: Writable,
  prefix: string,
  explain: (line: string) => string | undefined = () => undefined,
): () => string {
  let partial = '';
  let last = '';
  let error = '';
  const forward = (line: string) => {
    const text = line.slice(line.lastIndexOf('\r') + 1).trimEnd();
    const sentence = explain(text);
    if (sentence !== undefined || text.startsWith('error: ')) error = sentence ?? text;
    else if (text !== '' && !TRACE.test(text)) last = text;
    if (prefix !== '') to.write(`${prefix}${line}\n`);
  };
  from.setEncoding('utf8');
  from.on('data', (text: string) => {
    if (prefix === '') to.write(text);
    const end = text.lastIndexOf('\n');
    if (end >= 0) for (const line of (partial + text.slice(0, end)).split('\n')) forward(line);
    partial = end >= 0 ? text.slice(end + 1) : partial + text;
  });
  from.on('end', () => {
    if (partial !== '') forward(partial);
    partial = '';
  });
  return () => error || last;
}
