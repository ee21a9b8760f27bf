// What a trial is: conditions drawn from a seed, what was seen, and how it ended.
import { messageOf } from '#blip/errors.js';

/** One trial that is over. */
export interface Trial {
  subject: string;
  number: number;
  /** What was drawn. */
  drawn: string;
  /** What was seen. */
  seen: string;
  /** Of the clock, the whole trial. */
  seconds: number;
  end: 'passed' | 'failed' | 'not run';
}

/** Thrown by a trial that this machine, or this user's rights, cannot do. */
export class NotRun extends Error {}

/** What all kinds of trials take. */
export interface TrialOptions {
  trials: number;
  seed: number;
  /** A folder for this kind alone. */
  folder: string;
  /** Config file of the run. */
  config: string;
  /** Called after every trial. */
  report?: (trial: Trial) => void;
}

/** The seed of what is drawn: another one in every run, unless BLIP_TRIAL_SEED names one. */
export function trialSeed(): number {
  return Number(process.env.BLIP_TRIAL_SEED ?? Date.now() % 1_000_000);
}

/** Runs one trial. `body` gives what it saw, and throws where something is not as it must be. */
export async function runTrial(
  { report }: Pick<TrialOptions, 'report'>,
  { subject, number, drawn }: Pick<Trial, 'subject' | 'number' | 'drawn'>,
  body: () => Promise<string>,
): Promise<Trial> {
  const started = performance.now();
  const result = await body().then(
    (seen) => ({ seen, end: 'passed' as const }),
    (error: unknown) => ({
      seen: messageOf(error),
      end: error instanceof NotRun ? ('not run' as const) : ('failed' as const),
    }),
  );
  const trial: Trial = { subject, number, drawn, seconds: (performance.now() - started) / 1000, ...result };
  report?.(trial);
  return trial;
}

/** What a test asserts to be empty. */
export function faults(trials: readonly Trial[]): string[] {
  return trials.filter(({ end }) => end === 'failed').map(trialLine);
}

/** One line of the table: `kill   7  passed    4.2 s  one rank, …: resumed in epoch 1 after step 4`. */
export function trialLine({ subject, number, drawn, seen, seconds, end }: Trial): string {
  return `${subject} ${String(number).padStart(3)}  ${end.padEnd(7)} ${seconds.toFixed(1).padStart(5)} s  ${drawn}: ${seen}`;
}

/** One line for all trials of a subject. */
export function summaryLine(trials: readonly Trial[]): string {
  const seconds = trials.map((trial) => trial.seconds);
  const total = seconds.reduce((sum, value) => sum + value, 0);
  const count = (wanted: Trial['end']) => trials.filter(({ end }) => end === wanted).length;
  return (
    `${trials[0]?.subject ?? 'no'}: ${count('passed')} of ${trials.length} passed, ${count('failed')} failed, ` +
    `${count('not run')} not run; ${total.toFixed(0)} s, the longest ${Math.max(0, ...seconds).toFixed(1)} s`
  );
}
