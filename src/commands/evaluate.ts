// train_retrieval.py --evaluate: the recalls of the checkpoint that the config names.
import { join } from 'node:path';
import { requireAllImages } from '../data/require-images.js';
import { isMemoryShort, UserError } from '../errors.js';
import { appendEvaluation, type SplitReport, VAL_FILE, writeValEvaluation } from '../evaluation/report.js';
import { setLastWords } from '../libtorch/last-words.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { describeConfigJson } from '../model/hugging-face-config.js';
import { describeLoad, loadPretrained, randomState } from '../model/pretrained.js';
import type { RunOptions } from '../training/options.js';
import { isMain, type RetrievalResult, type Run } from '../training/run.js';
import { openEvents, recallScalars } from '../training/run-events.js';
import { EvaluationForecast } from './forecast.js';
import { pretrainedFile, runSplits, splitImages } from './run.js';
import { stoppedWords } from './signal-words.js';

/**
 * Evaluates on both splits, and adds the recalls to evaluate.txt. Those of val are kept in a file of their own until those
 * of test are there, too. @throws UserError for whatever a user can mend
 */
export async function evaluate(run: Run): Promise<RetrievalResult> {
  const { options, architecture, device, print } = run;
  if (isMain(run)) requireAllImages(splitImages(run), options);
  run.voice.phase('Creating model', 'Creating model');
  const state = await weights(run);
  using model = new BlipRetrieval(state, architecture, { device, precision: options.precision, consume: true });
  let kept = false;
  const keepVal = async ({ name, metrics }: SplitReport): Promise<void> => {
    if (name !== 'val' || !isMain(run)) return;
    await writeValEvaluation(options.outputDir, metrics);
    kept = true;
    if (run.voice.calm) setLastWords(stoppedWords(options, whereVal(options)));
  };
  const result = await runSplits(model, run, keepVal, new EvaluationForecast(run, model)).catch((error: unknown) => {
    const where = whereVal(options);
    if (kept && error instanceof UserError && !isMemoryShort(error))
      throw new UserError(`${error.message} ${where}`, { cause: error, exitCode: error.exitCode });
    if (kept) print(where);
    throw error;
  });
  if (isMain(run)) appendEvaluation(options.outputDir, result.val.metrics, result.test.metrics);
  const events = openEvents(run, 0);
  events?.scalars(0, { ...recallScalars('val', result.val.metrics), ...recallScalars('test', result.test.metrics) });
  if (events !== undefined)
    await (await import('../report/gallery-strips.js')).addGallery(events, 0, options.outputDir);
  events?.close();
  return result;
}

const whereVal = ({ outputDir }: Pick<RunOptions, 'outputDir'>) =>
  `The recalls of val are in ${join(outputDir, VAL_FILE)}.`;

/** The weights that the config names. @throws UserError for a checkpoint that cannot be used */
export async function weights(run: Run) {
  const { options, architecture, ranks, print } = run;
  const file = await pretrainedFile(run);
  if (file === undefined) {
    print('The config has no pretrained: the weights are random, and the recalls those of chance.');
    return randomState(architecture, options);
  }
  const { state, report } = await loadPretrained(file.path, architecture, { ...options, sharers: ranks });
  for (const line of describeLoad(report)) print(line);
  for (const line of describeConfigJson(file, architecture)) print(line);
  return state;
}
