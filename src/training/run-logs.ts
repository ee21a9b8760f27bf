// log.txt and metrics.jsonl: lines are added while a run goes on, and a resumed run takes away what it will log again.
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cannotWrite, writeFileAtomically } from '../files.js';
import type { Progress } from './progress.js';

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

/**
 * Takes away the lines that a run from `start` on will write again, and what is left of a line in whose midst the run
 * before was killed. @throws UserError where a file cannot be written
 */
export async function forgetLater(
  outputDir: string,
  { epoch, step }: Pick<Progress, 'epoch' | 'step'>,
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
    // A kill in here must not cost the lines that stay.
    if (kept !== text) await writeFileAtomically(path, (file) => file.write(Buffer.from(kept)));
  };
  await keepLines('log.txt', (logged) => logged < epoch);
  await keepLines('metrics.jsonl', (logged, at) => logged * stepsPerEpoch + at < epoch * stepsPerEpoch + step);
}
