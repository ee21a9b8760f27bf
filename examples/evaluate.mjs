// Evaluates a checkpoint on the test split: the recalls of salesforce/BLIP's train_retrieval.py --evaluate.
// Usage: node examples/evaluate.mjs CONFIG [key=value]…        for example, after `npm run demo`: configs/demo.yaml
import {
  architectureOf,
  BlipRetrieval,
  evaluateRetrieval,
  fetchPretrained,
  loadConfig,
  loadPretrained,
  loadRetrievalSplit,
  Tokenizer,
} from 'blip-retrieval/core';

const [path, ...overrides] = process.argv.slice(2);
const config = loadConfig(path, overrides);
const architecture = architectureOf(config);
const tokenizer = Tokenizer.load();
const split = await loadRetrievalSplit({ ...config, split: 'test' });

// `pretrained` is a file, a folder, a URL, hf:OWNER/NAME or a short name; what is not here is fetched once.
const { path: file } = await fetchPretrained(config.pretrained);
const { state, report: loaded } = await loadPretrained(file, architecture);
console.log(`${loaded.loaded.length} tensors loaded, ${loaded.unexpected.length} not used`);
const model = new BlipRetrieval(state, architecture, { device: 'cpu', consume: true }); // `state` is freed

const { kTest, batchSizeTest: batchSize } = config;
const { report, scores } = evaluateRetrieval(model, tokenizer, 'test', split, { kTest, batchSize, print: console.log });
console.log(`${report.images} images, ${report.texts} captions, ${scores.pairs.computed} pairs re-ranked`);
console.log(report.metrics); // recalls in percent, under the names of evaluate.txt
model.dispose();
