// This program's side of `bench`, a process of its own: one JSON command a line on stdin, one answer a line on stdout.
import { createInterface } from 'node:readline';
import { messageOf } from '../errors.js';
import { OwnWork } from './own-work.js';
import type { Command } from './protocol.js';

function answer(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** The other end is our own `bench`, so commands are what protocol.ts says they are. */
const commandOf = (line: string): Command => JSON.parse(line);

try {
  const work = new OwnWork(process.argv[2] === 'cuda');
  answer({ ok: true, ...work.hello() });
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      answer({ ok: true, ...(await work.do(commandOf(line))) });
    } catch (error) {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      answer({ ok: false, error: messageOf(error) });
    }
  }
} catch (error) {
  answer({ ok: false, error: messageOf(error) });
}
