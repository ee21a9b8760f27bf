// The main command, train_retrieval.py: evaluates a checkpoint on the val and test splits, or fine-tunes it.
import type { Rank } from '../distributed/rank.js';
import { isMemoryShort, messageOf, UserError } from '../errors.js';
import { recallTable } from '../evaluation/report.js';
import { pythonDuration } from '../logging/python-format.js';
import { writeReport } from '../report/run-report.js';
import { isMain, type RetrievalResult, type Run } from '../training/run.js';
import { evaluate } from './evaluate.js';
import { fineTune } from './fine-tune.js';
import type { RetrievalOptions } from './options.js';
import { openRun } from './run.js';
import { writeRunFacts } from './run-facts.js';

/** How long rank 0, stopped by a signal, waits for the others to come to their end. */
const SIGNALLED_PATIENCE_MS = 5_000;

/**
 * Evaluates (`evaluate`) or fine-tunes; results go to the output folder. `rank` is this process's among the ranks of the
 * run, undefined for one process; every rank gets the same results. Gives the recalls of the evaluated model, or of
 * training's last evaluation; undefined for training that was stopped before it.
 * @throws UserError for whatever a user can mend
 */
export async function runRetrieval(options: RetrievalOptions, rank?: Rank): Promise<RetrievalResult | undefined> {
  const started = performance.now();
  const begun = new Date();
  const { run, unlock } = await openRun(options, rank);
  if (isMain(run)) await writeRunFacts(run, begun, null);
  const work = options.evaluate ? evaluate : fineTune;
  const result = await work(run)
    .catch((error: unknown) => {
      throw isMemoryShort(error) ? withMemoryAdvice(error, options.evaluate) : error;
    })
    .finally(unlock);
  const seconds = (performance.now() - started) / 1000;
  const duration = pythonDuration(seconds);
  if (result !== undefined && isMain(run)) {
    console.log(recallTable([result.val, result.test]));
    await writeRunFacts(run, begun, seconds);
    await reportRun(run);
  }
  run.print(`${options.evaluate ? 'Evaluated' : 'Trained'} in ${duration}; results are in ${options.outputDir}`);
  // Not after a failure: the other ranks see the connection break. After a signal there may be nobody to wait for: the
  // launcher sends it when a rank was killed. The others wait until rank 0, which saves, is done and lets them go.
  const signalled = isMain(run) && process.exitCode !== undefined;
  run.ranks.destroy(signalled ? SIGNALLED_PATIENCE_MS : undefined);
  return result;
}

/** Writes report.html. The results are there already: a report that cannot be made does not fail the run. */
async function reportRun({ options: { outputDir }, print }: Run): Promise<void> {
  const again = `"report ${outputDir}" makes it again.`;
  try {
    print(`The report is ${await writeReport(outputDir)}; ${again}`);
  } catch (error) {
    print(`The report could not be written (${messageOf(error).replace(/\.$/, '')}). ${again}`);
  }
}

/** What could not be allocated, and the settings that lower what memory is needed. */
function withMemoryAdvice(error: unknown, evaluating: boolean): UserError {
  const settings = evaluating
    ? 'Lower batch_size_test or feature_memory'
    : 'Lower batch_size_train or queue_size, or raise vit_ckpt_layer with vit_grad_ckpt: True (in the evaluation: batch_size_test, feature_memory)';
  const said = messageOf(error).replace(/\.$/, '');
  const what = error instanceof UserError ? said : `Memory is short: ${said}`;
  return new UserError(`${what}. ${settings}, or use a machine with more memory.`, { cause: error });
}
