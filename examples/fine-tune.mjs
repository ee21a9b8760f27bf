// Fine-tunes in one process: log.txt, metrics.jsonl and both checkpoints, as the command without --evaluate writes them.
// Usage: node examples/fine-tune.mjs CONFIG OUTPUT_DIR [key=value]…        for example: configs/demo.yaml output/mine max_epoch=2
import { mkdirSync } from 'node:fs';
import * as blip from 'blip-retrieval/core';

const [path, outputDir, ...overrides] = process.argv.slice(2);
const config = blip.loadConfig(path, overrides, { training: true });
const architecture = blip.architectureOf(config);
const tokenizer = blip.Tokenizer.load();
const val = await blip.loadRetrievalSplit({ ...config, split: 'val' });
const test = await blip.loadRetrievalSplit({ ...config, split: 'test' });
const { training: settings, kTest } = config;

const file = await blip.openTensorFile((await blip.fetchPretrained(config.pretrained)).path);
const { state } = blip.loadTrainingState(file, architecture); // momentum copies and queues too
const { negativeAllRank, vitGradCkpt, vitCkptLayer, weightDecay } = settings;
const options = { negativeAllRank, checkpointedBlocks: vitGradCkpt ? vitCkptLayer : 0 };
const model = new blip.TrainingModel(state, architecture, { encToken: tokenizer.encTokenId, ...options });
file.close();
const optimizer = new blip.AdamW([...model.parameters.values()], { weightDecay });

const run = {
  ...{ config, architecture, tokenizer, device: 'cpu', splits: { val, test }, ranks: blip.oneRank },
  options: { outputDir, seed: 42, skipBadImages: false, training: { accumulate: 1, logEvery: 10 } },
  ...{ logger: { stream: process.stdout }, print: console.log },
};
const evaluate = async () => {
  const online = model.evaluated(); // shares the weights
  const report = (name, split) => blip.evaluateRetrieval(online, tokenizer, name, split, { kTest }).report;
  const reports = { val: report('val', val), test: report('test', test) };
  online.dispose();
  return reports;
};
const data = blip.trainingData(run, await blip.loadTrainingSet(config), settings.batchSizeTrain);
mkdirSync(outputDir, { recursive: true });
blip.manualSeed(42);
const trainer = { settings, model, optimizer, sync: blip.noSync, data, signals: {}, evaluate };
await blip.train(run, trainer, blip.initialState());
model.dispose();
