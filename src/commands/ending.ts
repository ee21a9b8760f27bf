// The last lines of a run on a terminal: what was written, and what to do next.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { titled } from '../logging/terminal.js';
import type { RetrievalOptions } from './options.js';
import { commandText, shellWord } from './shell-word.js';

/** What a run may write, and what it is. */
const FILES: readonly (readonly [name: string, what: string])[] = [
  ['report.html', 'the report: open it in a browser'],
  ['evaluate.txt', 'the recalls, one line a run'],
  ['log.txt', 'losses and recalls of each epoch'],
  ['metrics.jsonl', 'losses and speed of logged steps'],
  ['tensorboard', 'for tensorboard --logdir'],
  ['checkpoint_best.pth', 'the weights of the best epoch'],
  ['checkpoint_last.pth', 'what --resume continues'],
  ['scores_val.safetensors', 'all scores of val'],
  ['scores_test.safetensors', 'all scores of test'],
  ['retrieved_val.jsonl', 'what was found on val'],
  ['retrieved_test.jsonl', 'what was found on test'],
];

/** Columns of a file's name. */
const NAME_WIDTH = 27;

/** The files of `folder` that were written since `since`, in milliseconds of the epoch; a folder by its newest file. */
function writtenSince(folder: string, since: number): (readonly [name: string, what: string])[] {
  return FILES.filter(([name]) => {
    const path = join(folder, name);
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined) return false;
    if (!found.isDirectory()) return found.mtimeMs >= since;
    return readdirSync(path).some(
      (inner) => (statSync(join(path, inner), { throwIfNoEntry: false })?.mtimeMs ?? 0) >= since,
    );
  });
}

/** How the best weights of a training are evaluated. */
function evaluation({ outputDir, config, set }: RetrievalOptions): string {
  const best = `pretrained=${join(outputDir, 'checkpoint_best.pth')}`;
  const settings = [...set.filter((item) => !item.startsWith('pretrained=')), best];
  const flag = (name: string, value: string) => `--${name} ${shellWord(value)}`;
  const sets = settings.map((item) => flag('set', item));
  return commandText('evaluate', [flag('config', config), ...sets, flag('output_dir', join(outputDir, 'evaluated'))]);
}

/** The lines; none in the middle of another command. `since` is when the run began, in milliseconds of the epoch. */
export function endingLines(options: RetrievalOptions, since: number): string[] {
  if (options.continueWith !== undefined) return [];
  const written = writtenSince(options.outputDir, since);
  if (written.length === 0) return [];
  const lines = [
    `Written to ${options.outputDir}:`,
    ...written.map(([name, what]) => titled(`  ${name}`, what, NAME_WIDTH, process.stdout)),
  ];
  const isTrained = written.some(([name]) => name === 'checkpoint_best.pth');
  return isTrained ? [...lines, 'Next, evaluate it:', evaluation(options)] : lines;
}
