// What an evaluation leaves behind: the table on the terminal, evaluate.txt and config.yaml in the output folder.
import { appendFileSync, writeFileSync } from 'node:fs';
import { toPythonYaml } from '../config/yaml.js';
import { intoFolder } from '../disk/folder.js';
import { pythonJson } from '../logging/python-format.js';
import type { RetrievalMetrics } from './recall.js';

/** Recalls in percent that scores drawn at random would give. */
export interface ChanceLevel {
  /** Texts for an image, at 1, 5, 10. */
  text: [number, number, number];
  /** Images for a text, at 1, 5, 10. */
  image: [number, number, number];
}

/**
 * The level of chance of a split, in percent. For an image with c of T texts, k random texts miss them all with
 * probability C(T-c, k) / C(T, k); for a text, k of N images hold its own with probability k / N.
 *
 * @param img2txt (images) the texts of each image
 * @param texts number of texts T
 */
export function chanceLevel(img2txt: readonly (readonly number[])[], texts: number): ChanceLevel {
  const images = img2txt.length;
  const textChance = (k: number) => {
    const hits = img2txt.map((captions) => {
      let miss = 1;
      // C(T-c, k) / C(T, k) as a product over the k draws, which neither overflows nor cancels.
      for (let draw = 0; draw < Math.min(k, texts); draw++) {
        miss *= Math.max(0, texts - captions.length - draw) / (texts - draw);
      }
      return 1 - miss;
    });
    return (100 * hits.reduce((sum, hit) => sum + hit, 0)) / Math.max(1, images);
  };
  const imageChance = (k: number) => (100 * Math.min(k, images)) / Math.max(1, images);
  return {
    text: [textChance(1), textChance(5), textChance(10)],
    image: [imageChance(1), imageChance(5), imageChance(10)],
  };
}

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

/**
 * Writes `outputDir`/config.yaml: the resolved config, keys sorted, readable by any YAML library.
 * @param raw the mapping as the file and the overrides give it (`RetrievalConfig.raw`)
 * @throws UserError when the folder cannot be made or written, or the disk is full
 */
export function writeConfig(outputDir: string, raw: Readonly<Record<string, unknown>>): void {
  intoFolder(outputDir, 'config.yaml', (path) => writeFileSync(path, toPythonYaml(raw)));
}
