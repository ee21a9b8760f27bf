// The main command, train_retrieval.py: evaluates a checkpoint on the val and test splits, or fine-tunes it.
import type { Rank } from '../distributed/rank.js';
import { isMemoryShort, messageOf, UserError } from '../errors.js';
import { recallTable } from '../evaluation/report.js';
import { columnsOf } from '../logging/progress-bar.js';
import { pythonDuration } from '../logging/python-format.js';

import { hasSomethingToShow } from '../report/run-files.js';
import { isMain, type RetrievalResult, type Run } from '../training/run.js';
import { endingLines } from './ending.js';
import { evaluate } from './evaluate.js';
import { fineTune } from './fine-tune.js';
import type { RetrievalOptions } from './options.js';
import { isFirst, openRun } from './run.js';
import { writeRunFacts } from './run-facts.js';
import { voiceOf } from './voice.js';

/** How long rank 0, stopped by a signal, waits for the others to come to their end. */
const SIGNALLED_PATIENCE_MS = 5_000;

/**
 * Evaluates (`evaluate`) or fine-tunes; results go to the output folder. `rank` is this process's among the ranks of the
 * run, undefined for one process; every rank gets the same results. Gives the recalls of the evaluated model, or of
 * training's last evaluation; undefined for training that was stopped before it.
 * @throws UserError for whatever a user can mend
 */
export async function runRetrieval(options: RetrievalOptions, rank?: Rank): Promise<RetrievalResult | undefined> {
  const [started, since] = [performance.now(), Date.now()];
  const voice = voiceOf(options, isFirst(rank));
  // An error is printed on a line of its own.
  const cleared = (error: unknown): never => {
    voice.close();
    throw error;
  };
  const { run, unlock } = await openRun(options, rank, voice).catch(cleared);
  const work = async () => {
    if (isMain(run)) await writeRunFacts(run, since, null);
    return options.evaluate ? evaluate(run) : fineTune(run);
  };
  const result = await work()
    .catch((error: unknown) => {
      throw isMemoryShort(error) ? withMemoryAdvice(error, options.evaluate) : error;
    })
    .catch(cleared)
    .finally(unlock);
  const seconds = (performance.now() - started) / 1000;
  // Not after a signal: whoever sent it may kill what has not ended soon. `report` makes the page later.
  const isSignalled = process.exitCode !== undefined;
  const unwritten = isMain(run) && !isSignalled ? await report(run, since, seconds) : undefined;
  voice.close();
  if (result !== undefined && isMain(run)) console.log(recallTable([result.val, result.test], columnsOfOutput()));
  if (unwritten !== undefined) run.print(unwritten);
  const ended = `${options.evaluate ? 'Evaluated' : 'Trained'} in ${pythonDuration(seconds)}`;
  voice.echo(`${ended}; results are in ${options.outputDir}`);
  const last = isSignalled ? [] : [`${ended}.`, ...endingLines(run, since)];
  for (const line of last) voice.result(line);
  // Not after a failure: the other ranks see the connection break. After a signal there may be nobody to wait for: the
  // launcher sends it when a rank was killed. The others wait until rank 0, which saves, is done and lets them go.
  run.ranks.destroy(isMain(run) && isSignalled ? SIGNALLED_PATIENCE_MS : undefined);
  return result;
}

/**
 * Writes run.json and report.html, of training that reached `max_steps` as far as it came. The results are there already, so a
 * report that cannot be made does not fail the run.
 * @returns a line that says why there is none
 */
async function report(run: Run, since: number, seconds: number): Promise<string | undefined> {
  const { outputDir } = run.options;
  try {
    await writeRunFacts(run, since, seconds);
    if (!hasSomethingToShow(outputDir)) return undefined;
    const { writeReport } = await import('../report/run-report.js'); // sharp comes with it: late, and only where it is needed
    await writeReport(outputDir);
    return undefined;
  } catch (error) {
    const why = messageOf(error).replace(/\.$/, '');
    return `The report could not be written (${why}). "report ${outputDir}" makes it again.`;
  }
}

/** Without bounds where the output is no terminal. */
const columnsOfOutput = () => (process.stdout.isTTY ? columnsOf(process.stdout) - 1 : undefined);

/** What could not be allocated, and the settings that lower what memory is needed. */
function withMemoryAdvice(error: unknown, evaluating: boolean): UserError {
  const settings = evaluating
    ? 'Lower batch_size_test or feature_memory'
    : 'Lower batch_size_train or queue_size, or raise vit_ckpt_layer with vit_grad_ckpt: True (in the evaluation: batch_size_test, feature_memory)';
  const said = messageOf(error).replace(/\.$/, '');
  const what = error instanceof UserError ? said : `Memory is short: ${said}`;
  return new UserError(`${what}. ${settings}, or use a machine with more memory.`, { cause: error });
}
