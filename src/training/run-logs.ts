// log.txt and metrics.jsonl: a run appends lines, and a resumed run first removes those that it will log again.
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { cannotWrite } from '../disk/cannot-write.js';
import { parseJson } from '../disk/json-file.js';
import { schema, type ValueOf } from '../disk/schema.js';
import type { RetrievalMetrics } from '../evaluation/recall.js';
import type { RunState } from './run-state.js';

export type LogName = 'log.txt' | 'metrics.jsonl';

/** Adds one line. @throws UserError where the file cannot be written, on a full disk for instance */
export function addLine(outputDir: string, name: LogName, line: string): void {
  const path = join(outputDir, name);
  try {
    appendFileSync(path, `${line}\n`);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

function linesOf(path: string): string[] {
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return text.split('\n').filter((line) => line !== '');
}

/** A line of metrics.jsonl, as docs/metrics.md describes it; older runs wrote the losses alone. */
const LoggedStep = schema((z) =>
  z.object({
    ...{ epoch: z.int(), step: z.int(), lr: z.number().optional(), loss_itm: z.number(), loss_ita: z.number() },
    ...{ temperature: z.number().optional(), itm_accuracy: z.number().optional() },
    grad_norm: z.number().nullish(), // null where it overflowed
    ...{
      data_wait: z.number().optional(),
      images_per_second: z.number().optional(),
      memory_mib: z.number().optional(),
    },
  }),
);
export type LoggedStep = ValueOf<typeof LoggedStep>;

/** The lines of metrics.jsonl, but for one that a run was killed in. */
export function loggedSteps(outputDir: string): LoggedStep[] {
  return linesOf(join(outputDir, 'metrics.jsonl')).flatMap((line) => parseJson(line, LoggedStep) ?? []);
}

/** Whether log.txt has a line of any epoch, of any run. */
export function hasEpochs(outputDir: string): boolean {
  return linesOf(join(outputDir, 'log.txt')).length > 0;
}

const EpochLine = schema((z) => {
  const [integer, recall] = [z.int(), z.number()];
  return z.object({
    ...{ epoch: integer, best_epoch: integer, val_r_mean: recall },
    ...{ test_txt_r1: recall, test_txt_r5: recall, test_txt_r10: recall, test_txt_r_mean: recall },
    ...{ test_img_r1: recall, test_img_r5: recall, test_img_r10: recall, test_img_r_mean: recall, test_r_mean: recall },
  });
});

/** Whether metrics.jsonl has a line of any step, of any run. */
export function hasSteps(outputDir: string): boolean {
  return linesOf(join(outputDir, 'metrics.jsonl')).length > 0;
}

/** What log.txt in `folder` has for an epoch that was the best until then: r_mean on val, the metrics on test. */
export function loggedBest(folder: string, epoch: number): { best: number; bestTest: RetrievalMetrics } | undefined {
  for (const line of linesOf(join(folder, 'log.txt')).reverse()) {
    const of = parseJson(line, EpochLine); // undefined where a run was killed while it wrote this line
    if (of === undefined || of.epoch !== epoch || of.best_epoch !== epoch) continue;
    const bestTest = {
      ...{ txt_r1: of.test_txt_r1, txt_r5: of.test_txt_r5, txt_r10: of.test_txt_r10, txt_r_mean: of.test_txt_r_mean },
      ...{ img_r1: of.test_img_r1, img_r5: of.test_img_r5, img_r10: of.test_img_r10, img_r_mean: of.test_img_r_mean },
      r_mean: of.test_r_mean,
    };
    return { best: of.val_r_mean, bestTest };
  }
  return undefined;
}

/**
 * Removes the lines that a run from `epoch` and `step` on will write again, and an incomplete last line that a killed run
 * left. @throws UserError where a file cannot be written
 */
export async function forgetLater(
  outputDir: string,
  { epoch, step }: Pick<RunState, 'epoch' | 'step'>,
  stepsPerEpoch: number,
): Promise<void> {
  const keepLines = async (name: LogName, wanted: (epoch: number, step: number) => boolean) => {
    const path = join(outputDir, name);
    if (!existsSync(path)) return;
    const text = readFileSync(path, 'utf8');
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    const numberIn = (line: string, key: string) => Number(RegExp(`"${key}": ?(\\d+)`).exec(line)?.[1] ?? 0);
    const kept = whole
      .split('\n')
      .filter((line) => line !== '' && wanted(numberIn(line, 'epoch'), numberIn(line, 'step')))
      .map((line) => `${line}\n`)
      .join('');
    // A kill in here must not lose the lines that stay.
    if (kept !== text) await writeFileAtomically(path, (file) => file.write(Buffer.from(kept)));
  };
  await keepLines('log.txt', (logged) => logged < epoch);
  await keepLines('metrics.jsonl', (logged, at) => logged * stepsPerEpoch + at < epoch * stepsPerEpoch + step);
}
