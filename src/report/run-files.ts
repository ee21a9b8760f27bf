// What a run left in its output folder, as a report reads it. Nothing has to be there but one result.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { lookAt } from '../disk/folder.js';
import { parseJson, readJson } from '../disk/json-file.js';
import { schema, type ValueOf } from '../disk/schema.js';
import { messageOf, UserError } from '../errors.js';
import { insightFile, parseInsight, type SplitInsight } from '../evaluation/insight.js';
import { type LoggedStep, loggedSteps } from '../training/run-logs.js';

/** The file that says what was done. */
export const RUN_FILE = 'run.json';
/** The insight of the test split before training, where a demo kept it. */
export const BEFORE_FILE = 'insight_test_before.json';

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
  }),
);
export type RunFacts = ValueOf<typeof RunFacts>;

const EpochLine = schema((z) =>
  z.object({
    ...{ epoch: z.int(), best_epoch: z.int().optional() },
    ...{ val_txt_r1: z.number(), val_img_r1: z.number(), val_r_mean: z.number(), test_r_mean: z.number() },
  }),
);
export type EpochLine = ValueOf<typeof EpochLine>;

export interface RunFiles {
  /** The folder as it was given. */
  folder: string;
  /** Its last name, for a legend. */
  name: string;
  test: SplitInsight;
  val: SplitInsight | undefined;
  before: SplitInsight | undefined;
  epochs: EpochLine[];
  steps: LoggedStep[];
  facts: RunFacts | undefined;
  /** config.yaml, as text. */
  config: string | undefined;
}

/** @throws UserError for a folder without the result of an evaluation */
export function readRun(folder: string): RunFiles {
  if (lookAt(folder)?.isDirectory() !== true)
    throw new UserError(`${folder} is no folder. Name the output folder of a run.`);
  const insight = (name: string) => {
    const path = join(folder, name);
    return existsSync(path) ? parseInsight(path, textOf(path)) : undefined;
  };
  const test = insight(insightFile('test'));
  if (test === undefined)
    throw new UserError(
      `${folder} has no ${insightFile('test')}. Name the output folder of a run that has evaluated; one of an earlier version must evaluate again.`,
    );
  const lines = existsSync(join(folder, 'log.txt')) ? textOf(join(folder, 'log.txt')).split('\n') : [];
  return {
    folder,
    name: basename(resolve(folder)),
    test,
    val: insight(insightFile('val')),
    before: insight(BEFORE_FILE),
    epochs: lines.flatMap((line) => parseJson(line, EpochLine) ?? []),
    steps: stepsOf(folder),
    facts: readJson(join(folder, RUN_FILE), RunFacts),
    config: existsSync(join(folder, 'config.yaml')) ? textOf(join(folder, 'config.yaml')) : undefined,
  };
}

function stepsOf(folder: string): LoggedStep[] {
  try {
    return loggedSteps(folder);
  } catch {
    return []; // its last line may be half written; the report goes without curves
  }
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
