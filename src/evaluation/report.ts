// What an evaluation leaves behind: the table on the terminal, evaluate.txt in the output folder.
import { appendFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { intoFolder, makeFolder } from '../disk/folder.js';
import { pythonJson } from '../logging/python-format.js';
import { counted } from '../logging/text.js';
import type { ChanceLevel, RetrievalMetrics } from './recall.js';

/** One split of the table. */
export interface SplitReport {
  /** `val` or `test`. */
  name: string;
  images: number;
  texts: number;
  metrics: RetrievalMetrics;
  chance: ChanceLevel;
}

/** Cells of the first column: room for `test: 31000 images, 155000 captions`. */
const LABEL = 39;

/** The same where a terminal has no room for it: the sizes of a split then have a line of their own. */
const NARROW_LABEL = 22;
const NUMBER = 9;

/**
 * The recalls as a table of lines without colour: percent, two decimals, each direction followed by its level of chance. 75
 * columns wide, or 58 where `columns` are fewer; below that labels have lines of their own, and 36 are enough.
 */
export function recallTable(splits: readonly SplitReport[], columns = Number.POSITIVE_INFINITY): string {
  const isNarrow = columns < LABEL + 4 * NUMBER;
  const isStacked = columns < NARROW_LABEL + 4 * NUMBER;
  const width = isStacked ? 0 : isNarrow ? NARROW_LABEL : LABEL;
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const labelled = (label: string) => (isStacked ? `${label}\n` : label.padEnd(width));
  const line = (label: string, values: readonly number[]) =>
    labelled(label) + values.map((value) => value.toFixed(2).padStart(NUMBER)).join('');
  const titled = (title: string) => (isNarrow ? `${title}\n${''.padEnd(width)}` : title.padEnd(width));
  const lines = splits.flatMap(({ name, images, texts, metrics: m, chance }) => [
    titled(`${name}: ${counted(images, 'image')}, ${counted(texts, 'caption')}`) +
      ['R@1', 'R@5', 'R@10', 'mean'].map((head) => head.padStart(NUMBER)).join(''),
    line('  text retrieval (TR)', [m.txt_r1, m.txt_r5, m.txt_r10, m.txt_r_mean]),
    line('    level of chance', [...chance.text, mean(chance.text)]),
    line('  image retrieval (IR)', [m.img_r1, m.img_r5, m.img_r10, m.img_r_mean]),
    line('    level of chance', [...chance.image, mean(chance.image)]),
    labelled('  mean of both') + m.r_mean.toFixed(2).padStart(4 * NUMBER),
  ]);
  return `Recall in percent\n${lines.join('\n')}`;
}

/** The JSON line of evaluate.txt, without the newline: `val_*`, then `test_*`, as Python's json.dumps writes it. */
export function evaluationLine(val: RetrievalMetrics, test: RetrievalMetrics): string {
  return pythonJson(Object.fromEntries([...prefixed('val', val), ...prefixed('test', test)]));
}

const prefixed = (prefix: string, metrics: RetrievalMetrics) =>
  Object.entries(metrics).map(([key, value]): [string, number] => [`${prefix}_${key}`, value]);

/** The file that keeps the recalls of val while those of test are not there. */
export const VAL_FILE = 'evaluate_val.json';

/** Writes VAL_FILE into `outputDir`: what evaluate.txt will say of val. */
export async function writeValEvaluation(outputDir: string, val: RetrievalMetrics): Promise<void> {
  makeFolder(outputDir);
  const line = `${pythonJson(Object.fromEntries(prefixed('val', val)))}\n`;
  await writeFileAtomically(join(outputDir, VAL_FILE), (file) => file.write(Buffer.from(line)));
}

/**
 * Appends one line to `outputDir`/evaluate.txt, which makes VAL_FILE superfluous.
 * @throws UserError when the folder cannot be written or the disk is full
 */
export function appendEvaluation(outputDir: string, val: RetrievalMetrics, test: RetrievalMetrics): void {
  intoFolder(outputDir, 'evaluate.txt', (path) => appendFileSync(path, `${evaluationLine(val, test)}\n`));
  rmSync(join(outputDir, VAL_FILE), { force: true });
}
