// The names that the package exports, frozen: who renames or drops one breaks somebody's program (CHANGELOG.md).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../helpers/fixtures.js';

const VALUES = `
  AdamW architectureOf autocast BlipRetrieval cudaState denseScores describeLoad evaluateRetrieval evaluateSplit
  fetchPretrained flattenCheckpoint ImageLoader imageSource initialState itmEval keep liveHandles loadConfig
  loadPretrained loadRetrievalSplit loadTrainingSet loadTrainingState manualSeed noGrad normalizeImages noSync
  oneRank openCheckpoint openTensorFile ops packTexts preCaption readSafetensors recallTable scope sizesOf stateDictEntries
  stateDictOf Tensor Tokenizer train trainingData TrainingModel UserError writeSafetensors`;
const TYPES = `
  AdamWOptions Architecture ArchitectureConfig ChanceLevel Checkpoint CheckpointSizes CudaState Device DType EvaluationInput
  EvaluationOptions GradientSync ImageBatch ImageLoaderOptions ImagePass ImageSource ImageSourceOptions
  LoadConfigOptions LoadedBatch LoadOptions LoadReport LoopLog ModelOptions Outcome PackedTexts Precision PretrainedFile
  PretrainedOptions Ranks
  RetrievalConfig RetrievalEvaluationOptions RetrievalMetrics RetrievalSplit RetrievalSplitOptions Run RunOptions
  RunState ScoreRows SplitReport SplitScores StateDictEntry StepLosses TensorFile TensorRef Trainer TrainingBatch
  TrainingConfig TrainingData TrainingModelOptions TrainingSet TrainingSetOptions`;

const words = (text: string) => text.trim().split(/\s+/).sort();

/** The names in `export { … }` and `export type { … }` of the declarations. */
function declared(): { values: string[]; types: string[] } {
  const text = readFileSync(join(projectRoot, 'dist/index.d.ts'), 'utf8');
  const found = { values: [] as string[], types: [] as string[] };
  for (const [, type, list = ''] of text.matchAll(/export (type )?\{([^}]*)\}/g))
    for (const entry of list.split(',').map((part) => part.trim()))
      if (entry !== '')
        (type || entry.startsWith('type ') ? found.types : found.values).push(entry.replace('type ', ''));
  found.values.push(...[...text.matchAll(/export \* as (\w+)/g)].map(([, name = '']) => name));
  return { values: found.values.sort(), types: found.types.sort() };
}

test('the package exports these values, and no others', async () => {
  assert.deepEqual(declared().values, words(VALUES));
  assert.deepEqual(Object.keys(await import('#blip/index.js')).sort(), words(VALUES));
});

test('the package exports these types, and no others', () => {
  assert.deepEqual(declared().types, words(TYPES));
});
