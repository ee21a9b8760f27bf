// train_retrieval.py --evaluate: the recalls of the checkpoint that the config names.
import { appendEvaluation } from '../evaluation/report.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { describeLoad, loadPretrained, randomState } from '../model/pretrained.js';
import { isMain, type RetrievalResult, type Run } from '../training/run.js';
import { pretrainedFile, runSplits } from './run.js';

/** Evaluates on both splits, and adds the recalls to evaluate.txt. @throws UserError for whatever a user can mend */
export async function evaluate(run: Run): Promise<RetrievalResult> {
  const { options, architecture, device, print } = run;
  print('Creating model');
  const state = await weights(run);
  using model = new BlipRetrieval(state, architecture, { device, precision: options.precision });
  const result = await runSplits(model, run);
  if (isMain(run)) appendEvaluation(options.outputDir, result.val.metrics, result.test.metrics);
  return result;
}

async function weights(run: Run) {
  const { options, architecture, print } = run;
  const file = await pretrainedFile(run);
  if (file === undefined) {
    print('The config has no pretrained: the weights are random, and the recalls those of chance.');
    return randomState(architecture, options);
  }
  const { state, report } = await loadPretrained(file, architecture, options);
  for (const line of describeLoad(report)) print(line);
  return state;
}
