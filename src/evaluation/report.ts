// What an evaluation leaves behind: the table on the terminal, evaluate.txt in the output folder.
import { appendFileSync } from 'node:fs';
import { intoFolder } from '../disk/folder.js';
import { pythonJson } from '../logging/python-format.js';
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

/** The recalls as a table of lines without colour: percent, two decimals, each direction followed by its level of chance. */
export function recallTable(splits: readonly SplitReport[]): string {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const line = (label: string, values: readonly number[]) =>
    label.padEnd(LABEL) + values.map((value) => value.toFixed(2).padStart(9)).join('');
  const lines = splits.flatMap(({ name, images, texts, metrics: m, chance }) => [
    `${name}: ${images} images, ${texts} captions`.padEnd(LABEL) +
      ['R@1', 'R@5', 'R@10', 'mean'].map((head) => head.padStart(9)).join(''),
    line('  text retrieval (TR)', [m.txt_r1, m.txt_r5, m.txt_r10, m.txt_r_mean]),
    line('    level of chance', [...chance.text, mean(chance.text)]),
    line('  image retrieval (IR)', [m.img_r1, m.img_r5, m.img_r10, m.img_r_mean]),
    line('    level of chance', [...chance.image, mean(chance.image)]),
    `${'  mean of both'.padEnd(LABEL)}${m.r_mean.toFixed(2).padStart(36)}`,
  ]);
  return `Recall in percent\n${lines.join('\n')}`;
}

/** The JSON line of evaluate.txt, without the newline: `val_*`, then `test_*`, as Python's json.dumps writes it. */
export function evaluationLine(val: RetrievalMetrics, test: RetrievalMetrics): string {
  const prefixed = (prefix: string, metrics: RetrievalMetrics) =>
    Object.entries(metrics).map(([key, value]): [string, number] => [`${prefix}_${key}`, value]);
  return pythonJson(Object.fromEntries([...prefixed('val', val), ...prefixed('test', test)]));
}

/**
 * Appends one line to `outputDir`/evaluate.txt.
 * @throws UserError when the folder cannot be written or the disk is full
 */
export function appendEvaluation(outputDir: string, val: RetrievalMetrics, test: RetrievalMetrics): void {
  intoFolder(outputDir, 'evaluate.txt', (path) => appendFileSync(path, `${evaluationLine(val, test)}\n`));
}
