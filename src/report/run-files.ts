// What a run left in its output folder, as a report reads it. Nothing has to be there but one result, or one line of a log.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { lookAt } from '../disk/folder.js';
import { parseJson, readJson } from '../disk/json-file.js';
import { schema, type ValueOf } from '../disk/schema.js';
import { at, messageOf, UserError } from '../errors.js';
import { METRICS, type MetricName } from '../evaluation/bootstrap.js';
import { insightFile, parseInsight, type SplitInsight } from '../evaluation/insight.js';
import { hasEpochs, hasSteps, type LoggedStep, loggedSteps } from '../training/run-logs.js';

/** The file that says what was done. */
export const RUN_FILE = 'run.json';
/** The insight of the test split before training, where a demo kept it. */
export const BEFORE_FILE = 'insight_test_before.json';

const ReportWords = schema((z) =>
  z.object({
    title: z.string().optional(),
    /** A paragraph below the title, and the command that it ends with. */
    introduction: z.string().optional(),
    command: z.string().optional(),
  }),
);
/** What a page says at its top beyond its numbers. */
export type ReportWords = ValueOf<typeof ReportWords>;

const RunFacts = schema((z) =>
  z.object({
    /** The command line, ready for a shell. */
    command: z.string(),
    started: z.string(), // ISO 8601
    /** null while the run goes on, or where it was killed. */
    seconds: z.number().nullable(),
    evaluated: z.boolean(),
    version: z.string(),
    node: z.string(),
    libtorch: z.string(),
    device: z.string(),
    processor: z.string(),
    precision: z.string(),
    threads: z.int(),
    ranks: z.int(),
    seed: z.int(),
    /** What the weights were loaded from; empty for random ones. */
    checkpoint: z.string(),
    config: z.string(),
    dataset: z.string(),
    vit: z.string(),
    image_size: z.int(),
    words: ReportWords().optional(),
  }),
);
export type RunFacts = ValueOf<typeof RunFacts>;

/** A line of log.txt: means of training, and the metrics of both splits behind `val_` and `test_`. */
const EpochLine = schema((z) => {
  const recall = z.number();
  const recallsOf = <S extends string>(split: S) =>
    Object.fromEntries(METRICS.map((name) => [`${split}_${name}`, recall])) as Record<
      `${S}_${MetricName}`,
      typeof recall
    >;
  const mean = z.union([z.string(), z.number()]).optional(); // the reference writes texts, 'nan' among them
  const means = { train_loss_itm: mean, train_loss_ita: mean };
  const epoch = { epoch: z.int(), best_epoch: z.int().optional() };
  return z.object({ ...epoch, ...means, ...recallsOf('val'), ...recallsOf('test') });
});
export type EpochLine = ValueOf<typeof EpochLine>;

export interface RunFiles {
  /** The folder as it was given. */
  folder: string;
  /** Its last name, for a legend. */
  name: string;
  /** undefined where nothing was evaluated yet, or another program did. */
  test: SplitInsight | undefined;
  val: SplitInsight | undefined;
  before: SplitInsight | undefined;
  epochs: EpochLine[];
  steps: LoggedStep[];
  facts: RunFacts | undefined;
  /** config.yaml, as text. */
  config: string | undefined;
}

/** Whether a report can be made of a folder: something was evaluated, or logged. */
export function hasSomethingToShow(folder: string): boolean {
  return existsSync(join(folder, insightFile('test'))) || hasEpochs(folder) || hasSteps(folder);
}

/** A run whose result on test is there. */
export type EvaluatedRun = RunFiles & { test: SplitInsight };

/** The run, where its result on test is there. @throws UserError where it is not */
export function demandResult(run: RunFiles): EvaluatedRun {
  const { test } = run;
  if (test !== undefined) return { ...run, test };
  throw new UserError(
    `${run.folder} has no ${insightFile('test')}. Name the output folder of a run that has evaluated; one of an earlier version must evaluate again.`,
  );
}

/** @throws UserError for a folder without the result of an evaluation and without a log of training */
export function readRun(folder: string): RunFiles {
  if (lookAt(folder)?.isDirectory() !== true)
    throw new UserError(`${folder === '' ? "''" : folder} is no folder. Name the output folder of a run.`);
  const insight = (name: string) => {
    const path = join(folder, name);
    return existsSync(path) ? parseInsight(path, textOf(path)) : undefined;
  };
  const lines = existsSync(join(folder, 'log.txt')) ? textOf(join(folder, 'log.txt')).split('\n') : [];
  const run = {
    folder,
    name: basename(resolve(folder)),
    test: insight(insightFile('test')),
    val: insight(insightFile('val')),
    before: insight(BEFORE_FILE),
    epochs: ofLastRun(
      lines.flatMap((line) => parseJson(line, EpochLine) ?? []),
      (line, last) => line.epoch > last.epoch,
    ),
    steps: ofLastRun(
      stepsOf(folder),
      (line, last) => line.epoch > last.epoch || (line.epoch === last.epoch && line.step > last.step),
    ),
    facts: readJson(join(folder, RUN_FILE), RunFacts),
    config: existsSync(join(folder, 'config.yaml')) ? textOf(join(folder, 'config.yaml')) : undefined,
  };
  return run.epochs.length + run.steps.length > 0 ? run : demandResult(run);
}

/** Trainings from scratch in one folder add to the same logs, as the reference's do: the lines of the last one. */
function ofLastRun<T>(lines: readonly T[], follows: (line: T, last: T) => boolean): T[] {
  const begin = lines.findLastIndex((line, i) => i > 0 && !follows(line, at(lines, i - 1)));
  return lines.slice(Math.max(0, begin));
}

function stepsOf(folder: string): LoggedStep[] {
  try {
    return loggedSteps(folder);
  } catch {
    return []; // it cannot be read; the report goes without curves
  }
}

/** Where the images of a result are now: a folder that was moved may have taken them along. */
export function imageRootOf(folder: string, { imageRoot, imageRootFromHere }: SplitInsight): string {
  if (imageRootFromHere === undefined || lookAt(imageRoot)?.isDirectory() === true) return imageRoot;
  const here = join(folder, imageRootFromHere);
  return lookAt(here)?.isDirectory() === true ? here : imageRoot;
}

/** The largest file of these that makes sense: insight files of COCO have a few megabytes. */
const MOST_BYTES = 256 * 2 ** 20;

function textOf(path: string): string {
  try {
    if (statSync(path).size > MOST_BYTES) throw new Error(`it has more than ${MOST_BYTES} bytes`);
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${messageOf(error)}. Name the output folder of a run.`, {
      cause: error,
    });
  }
}
