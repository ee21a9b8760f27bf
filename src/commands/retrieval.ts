// The main command: evaluates a checkpoint on the val and test splits, as train_retrieval.py --evaluate.
import { join } from 'node:path';
import { loadConfig, type RetrievalConfig } from '../config/load.js';
import { loadRetrievalSplit, type RetrievalSplit } from '../data/annotations.js';
import { ImageLoader } from '../data/loader.js';
import { Tokenizer } from '../data/tokenizer.js';
import { download, fetchPretrained } from '../download.js';
import { evaluateSplit } from '../evaluation/evaluate.js';
import type { ImageSource, LoopLog } from '../evaluation/image-store.js';
import { itmEval } from '../evaluation/recall.js';
import { appendEvaluation, chanceLevel, recallTable, type SplitReport, writeConfig } from '../evaluation/report.js';
import type { SplitScores } from '../evaluation/rerank.js';
import { denseScores } from '../evaluation/scores.js';
import { architectureOf } from '../model/architecture.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { describeLoad, loadPretrained } from '../model/pretrained.js';
import { pythonDict, pythonDuration } from '../python-format.js';
import { cudaState } from '../torch/cuda.js';
import { manualSeed } from '../torch/generator.js';
import { native } from '../torch/native.js';
import { writeSafetensors } from '../torch/safetensors.js';
import type { Device } from '../torch/tensor.js';
import { MetricLogger } from '../training/metric-logger.js';
import { type RetrievalOptions, resolveDevice } from './retrieval-options.js';

const SPLITS = ['val', 'test'] as const;
type SplitName = (typeof SPLITS)[number];

/** What one evaluation found; also written to the output folder. */
export type RetrievalResult = Record<SplitName, SplitReport>;

type Print = (line: string) => void;

// ---- device

/** The device's name for LibTorch; says so where the CPU was chosen for want of a GPU. */
function chooseDevice(options: RetrievalOptions, print: Print): Device {
  if (options.device === 'cpu') {
    native({ cuda: false });
    return 'cpu';
  }
  const { device, note } = resolveDevice(options.device, cudaState());
  if (note !== undefined) print(note);
  if (device === 'cpu') return 'cpu';
  native().setDevice(gpuIndex(device) ?? 0);
  native().setTf32(options.precision === 'tf32');
  return device;
}

/** 1 of 'cuda:1'; undefined of 'cpu'. */
function gpuIndex(device: Device): number | undefined {
  return device === 'cpu' ? undefined : Number(device.split(':')[1] ?? 0);
}

// ---- data

async function loadSplits(config: RetrievalConfig): Promise<Record<SplitName, RetrievalSplit>> {
  const load = (split: SplitName) =>
    loadRetrievalSplit({
      annRoot: config.annRoot,
      imageRoot: config.imageRoot,
      dataset: config.dataset,
      split,
      download: (url, destination) => download(url, destination),
    });
  const val = await load('val');
  return { val, test: await load('test') };
}

// On a CPU small batches keep activations in the caches; a GPU takes the config's.
const CPU_BATCH = 8;

/** The split's images through loader workers, counting those that could not be read. */
function imageSource(
  split: RetrievalSplit,
  config: RetrievalConfig,
  options: RetrievalOptions,
  device: Device,
  bad: Set<string>,
): ImageSource {
  const batchSize = device === 'cpu' ? Math.min(CPU_BATCH, config.batchSizeTest) : config.batchSizeTest;
  return {
    count: split.images.length,
    open(from) {
      const paths = split.images.slice(from);
      const loader = new ImageLoader({
        paths,
        size: config.imageSize,
        batchSize,
        skipBadImages: options.skipBadImages,
      });
      return {
        next() {
          const batch = loader.next();
          for (const { path } of batch?.bad ?? []) bad.add(path);
          return batch;
        },
        close: () => loader.close(),
      };
    },
  };
}

// ---- results

async function saveScores(outputDir: string, split: SplitName, scores: SplitScores): Promise<void> {
  const matrix = (rows: SplitScores['imageToText']) => {
    const dense = denseScores(rows);
    return {
      dtype: 'float32' as const,
      shape: [rows.rows, rows.columns],
      data: new Uint8Array(dense.buffer, dense.byteOffset, dense.byteLength),
    };
  };
  const tensors = new Map([
    ['i2t', matrix(scores.imageToText)],
    ['t2i', matrix(scores.textToImage)],
  ]);
  await writeSafetensors(join(outputDir, `scores_${split}.safetensors`), tensors);
}

/**
 * Evaluates and writes config.yaml and evaluate.txt into the output folder.
 * Throws a UserError for whatever a user can mend.
 */
export async function runRetrieval(options: RetrievalOptions): Promise<RetrievalResult> {
  const print: Print = options.quiet ? () => {} : (line) => console.log(line);
  const started = performance.now();

  // ---- what to do, and where the results go: mistakes here cost no time
  for (const note of options.notes) print(note);
  const config = loadConfig(options.config, options.set);
  const architecture = architectureOf(config);
  writeConfig(options.outputDir, config.raw);
  const device = chooseDevice(options, print);
  manualSeed(options.seed);

  // ---- data
  print('Creating retrieval dataset');
  const splits = await loadSplits(config);
  for (const name of SPLITS) for (const note of splits[name].notes) print(note);
  const tokenizer = Tokenizer.load({ vocabFile: config.vocab });

  // ---- model
  print('Creating model');
  const pretrained = await fetchPretrained(
    config.pretrained,
    config.sha256 === undefined ? {} : { sha256: config.sha256 },
  );
  const { state, report } = await loadPretrained(pretrained, architecture, {
    allowPartial: options.allowPartial,
    seed: options.seed,
  });
  for (const line of describeLoad(report)) print(line);
  const model = new BlipRetrieval(state, architecture, { device, precision: options.precision });

  // ---- evaluation of both splits
  const cuda = gpuIndex(device);
  const startLoop = (header: string, total: number): LoopLog =>
    new MetricLogger({
      print,
      quiet: options.quiet,
      stream: process.stdout,
      ...(cuda === undefined ? {} : { maxMemory: () => native().deviceMemory(cuda).peakAllocated }),
    }).start(header, total);
  const evaluate = async (name: SplitName): Promise<SplitReport> => {
    const split = splits[name];
    const bad = new Set<string>();
    print('Computing features for evaluation...');
    const { scores, seconds } = evaluateSplit(
      model,
      {
        images: imageSource(split, config, options, device, bad),
        texts: split.texts.map((text) => tokenizer.encode(text).ids),
        encToken: tokenizer.encTokenId,
      },
      { kTest: config.kTest, featureMemory: config.featureMemory, startLoop, print },
    );
    if (bad.size > 0)
      print(
        `${bad.size} of ${split.images.length} images of ${name} could not be read and count as grey: ${[...bad][0]} is the first`,
      );
    print(`Evaluation time ${pythonDuration(seconds.features + seconds.rerank)}`);
    const metrics = itmEval(scores.imageToText, scores.textToImage, split.txt2img, split.img2txt);
    if (options.saveScores) await saveScores(options.outputDir, name, scores);
    return {
      name,
      images: split.images.length,
      texts: split.texts.length,
      metrics,
      chance: chanceLevel(split.img2txt, split.texts.length),
    };
  };
  const val = await evaluate('val');
  const test = await evaluate('test');

  // ---- results
  print(pythonDict({ ...val.metrics }));
  print(pythonDict({ ...test.metrics }));
  appendEvaluation(options.outputDir, val.metrics, test.metrics);
  console.log(recallTable([val, test]));
  print(`Evaluated in ${pythonDuration((performance.now() - started) / 1000)}; results are in ${options.outputDir}`);
  return { val, test };
}
