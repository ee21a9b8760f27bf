// Runs the command line, and ends the process: what is thrown becomes one sentence and an exit code, and nothing that was
// printed is lost.
import { setImmediate } from 'node:timers/promises';
import { CommanderError } from 'commander';
import { cannotWrite } from '../disk/cannot-write.js';
import { obeyNohup } from '../distributed/signals.js';
import { codeOf, messageOf, UserError } from '../errors.js';
import { fitted } from '../logging/terminal.js';
import { asFlags } from './options.js';
import { canonicalFlags, NAME, program } from './program.js';
import { systemFailure } from './system-failure.js';

/** Exit code of a program that SIGPIPE ended, as a shell gives it. */
const BROKEN_PIPE = 141;

/** Prints what went wrong. @returns the exit code */
function report(thrown: unknown, debug: boolean): number {
  // Commander has printed its own message or the help.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
  if (codeOf(thrown) === 'EPIPE') return BROKEN_PIPE;
  const error = systemFailure(thrown) ?? thrown;
  const known = error instanceof UserError;
  const defect = `\nThis is a defect of ${NAME}. Please report it${debug ? '' : ', with what --debug prints'}.`;
  const said = `error: ${known ? asFlags(error.message) : messageOf(error) + defect}`;
  console.error(fitted(said, process.stderr));
  if (debug) console.error(error);
  return known ? error.exitCode : 1;
}

/** Waits until a stream's reader has taken all that was written, or the stream has failed. */
function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

let leaving = false;

/** Ends the process with `process.exitCode`. Handles that are open (a worker, a socket) do not keep it alive. */
async function leave(): Promise<void> {
  if (leaving) return;
  leaving = true;
  // A pipe takes 64 KiB at a time: the rest waits in this process, and would end with it.
  await Promise.all([drained(process.stdout), drained(process.stderr)]);
  await setImmediate(); // a write that failed is told after its callback
  process.exit();
}

/** Runs the command line of this process to its end, and ends the process. */
export async function main(): Promise<void> {
  const args = canonicalFlags(process.argv.slice(2));
  const debug = args.includes('--debug');
  const end = (error: unknown) => {
    process.exitCode = report(error, debug);
    void leave();
  };
  // What a finished command leaves behind may still fail.
  const failed = (error: unknown) => void (leaving || end(error));
  process.on('uncaughtException', failed);
  process.on('unhandledRejection', failed);
  // `… | head` closes the pipe: end quietly, as SIGPIPE would. A file may be on a full disk. Even while the process ends.
  for (const [stream, name] of [
    [process.stdout, 'Standard output'],
    [process.stderr, 'Standard error'],
  ] as const) {
    const told = (error: unknown) => end(codeOf(error) === 'EPIPE' ? error : cannotWrite(name, error));
    stream.once('error', told).on('error', () => {});
  }
  obeyNohup();
  try {
    if (process.pid === 1) process.exitCode = await (await import('../distributed/first-process.js')).runAsChild();
    else await (await program(args)).parseAsync(args, { from: 'user' });
  } catch (error) {
    failed(error);
  }
  await leave();
}
