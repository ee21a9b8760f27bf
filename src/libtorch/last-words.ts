// What a command says when Ctrl-C or `kill` ends it: on a line of its own, in place of a bar and of the ^C that the terminal has
// written. A listener would be too late, since a computation keeps the event loop from turning: the addon's handler says it.
import { constants } from 'node:os';
import { canDrawProgress, type ProgressStream } from '../logging/progress-bar.js';
import { roomOf, wrappedProse } from '../logging/terminal.js';
import { bootIfThere } from './boot.js';

/** The signals by which a user ends a command. */
export type EndingSignal = 'SIGINT' | 'SIGTERM';

export interface LastWords {
  /** Said when the signal ends this process. */
  last: (signal: EndingSignal) => string;
  /** Where JavaScript listens: said at the first signal, which is the listener's; the next one ends this process. */
  noted?: (signal: EndingSignal) => string;
}

export const STOPPED: LastWords = { last: (signal) => `Stopped by ${signal}.` };

/**
 * Has the signals say these words from now on. To be called again whenever listeners of them have come or gone, which undoes
 * it. Does nothing where there is no addon, and at a signal whose listeners the words do not expect.
 */
export function setLastWords(words: LastWords): void {
  const boot = bootIfThere();
  const { stderr } = process;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    if (process.listenerCount(signal) > 0 !== (words.noted !== undefined)) continue;
    boot?.lastWords(
      constants.signals[signal],
      stderr.fd,
      onOwnLine(words.last(signal)),
      words.noted && onOwnLine(words.noted(signal)),
    );
  }
}

/**
 * The sentence as it is written to standard error: on a terminal it takes the place of what the cursor's line holds. That of a
 * rank leads to the launcher, and through it to the terminal that standard output is.
 */
export function onOwnLine(
  sentence: string,
  { stderr, stdout }: { stderr: ProgressStream; stdout: ProgressStream } = process,
): string {
  if (stderr.isTTY !== true && stdout.isTTY !== true) return `${sentence}\n`;
  return `${clearedLine(stderr)}${wrappedProse(sentence, roomOf(stderr.isTTY === true ? stderr : stdout))}\n`;
}

/** What frees the cursor's line of a terminal of a ^C. */
export function clearedLine(stderr: ProgressStream = process.stderr): string {
  return canDrawProgress(stderr) ? '\r\x1b[2K' : stderr.isTTY === true ? '\n' : '';
}
