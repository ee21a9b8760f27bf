// What a run writes for TensorBoard, beside metrics.jsonl: the config, the numbers of logged steps, recalls.
import { join } from 'node:path';
import { toPythonYaml } from '../config/write.js';
import type { RetrievalMetrics } from '../evaluation/recall.js';
import { EventLog } from '../logging/tensorboard.js';
import { isMain, type Run } from './run.js';
import { hasEpochs, hasSteps, type LoggedStep } from './run-logs.js';

/**
 * The run's event file, where it is asked for; of rank 0 alone. `from` steps were done before: what an earlier run logged
 * from there on is forgotten. @throws UserError where it cannot be written
 */
export function openEvents(run: Run, from: number): EventLog | undefined {
  if (!run.options.tensorboard || !isMain(run)) return undefined;
  const { outputDir, evaluate } = run.options;
  // An evaluation in the folder of a training has step 0, from which on the training's events would be forgotten: it is a run of its own.
  const isBesideTraining = evaluate && (hasEpochs(outputDir) || hasSteps(outputDir));
  const folder = join(outputDir, 'tensorboard', ...(isBesideTraining ? ['evaluation'] : []));
  const events = new EventLog(folder, { from });
  events.text(from, 'config', toPythonYaml(run.config.raw).replace(/^(?=.)/gm, '    ')); // Markdown's block of code
  return events;
}

/** Groups of TensorBoard's page. */
const GROUPS = {
  loss_itm: 'loss/itm',
  loss_ita: 'loss/ita',
  itm_accuracy: 'loss/itm_accuracy',
  lr: 'optimizer/lr',
  grad_norm: 'optimizer/grad_norm',
  temperature: 'optimizer/temperature',
  images_per_second: 'speed/images_per_second',
  data_wait: 'speed/data_wait',
  memory_mib: 'speed/memory_mib',
} as const satisfies Partial<Record<keyof LoggedStep, string>>;

/** The numbers of a logged step under TensorBoard's names. */
export function trainingScalars(step: Readonly<Record<keyof typeof GROUPS, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(GROUPS).map(([key, name]) => [name, step[key as keyof typeof GROUPS]]));
}

/** The recalls of a split under TensorBoard's names. */
export function recallScalars(split: string, metrics: RetrievalMetrics): Record<string, number> {
  return Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`recall_${split}/${key}`, value]));
}
