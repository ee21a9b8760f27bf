// The names that the package's two entries export, frozen: who renames or drops one breaks somebody's program (CHANGELOG.md).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../helpers/fixtures.js';

const words = (text: string) =>
  text
    .split(/\s+/)
    .filter((word) => word !== '')
    .sort();

/** Each entry: its file in dist, its values and its types. */
const ENTRIES = {
  'blip-retrieval': {
    file: 'index',
    values: 'Retriever UserError',
    types: `
      BadImage CallOptions ChangeOptions ChangeReport CreateIndexOptions Device Hit ImageIndex ImageInput IndexedImage IndexFacts
      ListOptions Match NamedImage OnBadImage Precision Query RetrieverOptions SearchOptions SyncReport`,
  },
  'blip-retrieval/core': {
    file: 'core',
    values: `
      AdamW architectureOf autocast BlipRetrieval cudaState decodeRgb denseScores describeLoad evaluateRetrieval evaluateSplit
      evaluationTransform fetchPretrained flattenCheckpoint IMAGE_MEAN IMAGE_STD ImageLoader imageSource initialState itmEval
      keep liveHandles loadConfig loadPretrained loadRetrievalSplit loadTrainingSet loadTrainingState manualSeed noGrad
      normalizeImages noSync oneRank openCheckpoint openTensorFile ops packTexts preCaption readSafetensors
      readSafetensorsMetadata recallTable scope sizesOf stateDictEntries stateDictOf Tensor Tokenizer train trainingData TrainingModel
      UserError writeSafetensors`,
    types: `
      AdamWOptions Architecture ArchitectureConfig BadImage ChanceLevel Checkpoint CheckpointSizes CudaState DecodeOptions Device DType
      EvaluationInput EvaluationOptions GradientSync ImageBatch ImageLoaderOptions ImagePass ImageSource ImageSourceOptions
      ImageTransform LoadConfigOptions LoadedBatch LoaderBatch LoadOptions LoadReport LoopLog ModelOptions Outcome PackedTexts
      Precision PretrainedFile PretrainedOptions Ranks RetrievalConfig RetrievalEvaluationOptions RetrievalMetrics
      RetrievalSplit RetrievalSplitOptions RgbImage Run RunOptions RunState SafeTensor ScoreRows SplitReport SplitScores
      StateDictEntry StepLosses TensorFile TensorRef TokenizedBatch Trainer TrainingBatch TrainingConfig TrainingData
      TrainingModelOptions TrainingSet TrainingSetOptions UnreadImage`,
  },
};

/** The names in `export { … }` and `export type { … }` of an entry's declarations. */
function declared(file: string): { values: string[]; types: string[] } {
  const text = readFileSync(join(projectRoot, `dist/${file}.d.ts`), 'utf8');
  const found = { values: [] as string[], types: [] as string[] };
  for (const [, type, list = ''] of text.matchAll(/export (type )?\{([^}]*)\}/g))
    for (const entry of list.split(',').map((part) => part.trim()))
      if (entry !== '')
        (type || entry.startsWith('type ') ? found.types : found.values).push(entry.replace('type ', ''));
  found.values.push(...[...text.matchAll(/export \* as (\w+)/g)].map(([, name = '']) => name));
  return { values: found.values.sort(), types: found.types.sort() };
}

for (const [name, { file, values, types }] of Object.entries(ENTRIES)) {
  test(`${name} exports these values, and no others`, async () => {
    assert.deepEqual(declared(file).values, words(values));
    assert.deepEqual(Object.keys(await import(name)).sort(), words(values));
  });

  test(`${name} exports these types, and no others`, () => {
    assert.deepEqual(declared(file).types, words(types));
  });
}

test('blip-retrieval loads neither LibTorch nor sharp until a retriever is opened', () => {
  const code = `
    import { readFileSync } from 'node:fs';
    await import('blip-retrieval');
    console.log(readFileSync('/proc/self/maps', 'utf8'));`;
  const args = ['--input-type=module', '-e', code];
  const maps = execFileSync(process.execPath, args, { cwd: projectRoot, encoding: 'utf8' });
  assert.doesNotMatch(maps, /libtorch|libvips|sharp|image\.node/);
});
