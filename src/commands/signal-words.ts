// What a command says on a terminal when Ctrl-C or `kill` ends it.
import { type LastWords, STOPPED, setLastWords } from '../libtorch/last-words.js';
import type { RunOptions } from '../training/options.js';

/** Where this process speaks to a terminal: has the signals say `words` from now on. */
export function sayAtSignals(words: LastWords = STOPPED): void {
  if (isOnTerminal()) setLastWords(words);
}

/** Of the ranks of a launcher only the first has its standard output. */
const isOnTerminal = () => process.stderr.isTTY || process.stdout.isTTY;

/** Those of a run that has nothing to save; `more` is a sentence about what there is. */
export function stoppedWords({ continueWith }: Pick<RunOptions, 'continueWith'>, more?: string): LastWords {
  const go = continueWith === undefined ? [] : [`To continue:\n${continueWith}`];
  const parts = [...(more === undefined ? [] : [more]), ...go];
  return { last: (signal) => [STOPPED.last(signal), ...parts].join(' ') };
}
