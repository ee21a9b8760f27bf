// The last lines of a run on a terminal: what was written, and what to do next.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { RetrievalConfig } from '../config/load.js';
import { yamlText } from '../config/yaml.js';
import { titled } from '../logging/terminal.js';
import { type RunOptions, runFlags } from '../training/options.js';
import { commandText, flagParts } from './shell-word.js';

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

interface EndedRun {
  options: RunOptions;
  config: Pick<RetrievalConfig, 'sha256'>;
}

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

/** How the best weights of a training are evaluated: with what its flags said of images and arithmetic. */
function evaluation(options: RunOptions, { sha256 }: Pick<RetrievalConfig, 'sha256'>): string {
  const { outputDir, config, set, device, precision } = options;
  const best = {
    pretrained: yamlText(join(outputDir, 'checkpoint_best.pth')),
    ...(sha256 !== undefined && { sha256: '' }), // that of the file where training began
  };
  const settings = [
    ...set.filter((item) => !/^(?:pretrained|sha256)=/.test(item)),
    ...Object.entries(best).map(([key, value]) => `${key}=${value}`),
  ];
  const switches = [
    ...(options.allowOutsideImages ? ['--allow_outside_images'] : []),
    ...(options.skipBadImages ? ['--skip_bad_images'] : []),
  ];
  return commandText('evaluate', [
    ...flagParts({ config }),
    ...settings.flatMap((item) => flagParts({ set: item })),
    ...flagParts({ device, precision: precision === runFlags.precision.initial ? undefined : precision }),
    ...switches,
    ...flagParts({ output_dir: join(outputDir, 'evaluated') }),
  ]);
}

/** The lines; none in the middle of another command. `since` is when the run began, in milliseconds of the epoch. */
export function endingLines({ options, config }: EndedRun, since: number): string[] {
  if (options.continueWith !== undefined) return [];
  const written = writtenSince(options.outputDir, since);
  if (written.length === 0) return [];
  const lines = [
    `Written to ${options.outputDir}:`,
    ...written.map(([name, what]) => titled(`  ${name}`, what, NAME_WIDTH, process.stdout)),
  ];
  const isTrained = written.some(([name]) => name === 'checkpoint_best.pth');
  return isTrained ? [...lines, 'Next, evaluate it:', evaluation(options, config)] : lines;
}
