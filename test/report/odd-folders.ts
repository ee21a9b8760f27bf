// Output folders as people may have them: results of one tiny run, changed, and logs of any kind.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { METRICS } from '#blip/evaluation/bootstrap.js';
import { parseInsight, type SplitInsight } from '#blip/evaluation/insight.js';
import { TinyRuns } from '../helpers/tiny-run.js';

export const tiny = new TinyRuns();
/** The result with k_test 8, once it is there. */
export let base: SplitInsight;

/** Evaluates with k_test 1 and 8, into the folders k1 and k8. */
export async function evaluateTiny(): Promise<void> {
  await tiny.write();
  for (const k of [1, 8]) {
    const run = await tiny.run(`k${k}`, '--evaluate', '--set', `k_test=${k}`);
    assert.equal(run.code, 0, run.stderr);
  }
  base = insightOf('k8');
}

export function insightOf(run: string): SplitInsight {
  const path = tiny.path(run, 'insight_test.json');
  return parseInsight(path, readFileSync(path, 'utf8'));
}

type Files = Readonly<Record<string, string>>;

/** A folder with the result of the tiny run, changed, and other files. */
export function folderOf(name: string, change: (insight: SplitInsight) => void, files: Files = {}): string {
  const folder = tiny.path(name);
  mkdirSync(folder, { recursive: true });
  const insight = structuredClone(base);
  change(insight);
  writeFileSync(join(folder, 'insight_test.json'), JSON.stringify(insight));
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text);
  return folder;
}

/** A folder with these files alone. */
export function logsOf(name: string, files: Files): string {
  const folder = folderOf(name, () => {}, files);
  rmSync(join(folder, 'insight_test.json'));
  return folder;
}

export const epochLine = (epoch: number, best: number, recall: number) =>
  `${JSON.stringify({
    ...{ train_lr: '0.000', train_loss_itm: '0.613', train_loss_ita: String(9 - epoch) },
    ...Object.fromEntries(['val', 'test'].flatMap((split) => METRICS.map((name) => [`${split}_${name}`, recall]))),
    ...{ epoch, best_epoch: best },
  })}\n`;
export const stepLine = (epoch: number, step: number) =>
  `${JSON.stringify({ epoch, step, loss_itm: 0.5, loss_ita: 5 - step, lr: 0.1 })}\n`;
export const FACTS = {
  ...{ command: 'blip', started: '2026-11-30T10:25:45.491Z', seconds: 1, evaluated: false, version: '0', node: '20' },
  ...{ libtorch: '2', device: 'cpu', processor: 'x', precision: 'fp32', threads: 1, ranks: 1, seed: 1, checkpoint: '' },
  ...{ config: 'x.yaml', dataset: 'coco', vit: 'base', image_size: 384 },
};
