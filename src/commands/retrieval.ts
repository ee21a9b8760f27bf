// The main command: train_retrieval.py. Evaluates a checkpoint on the val and test splits, or fine-tunes it.
import type { RetrievalConfig } from '../config/load.js';
import { writeConfig } from '../config/write.js';
import { loadRetrievalSplit, type RetrievalSplit } from '../data/annotations.js';
import { Tokenizer } from '../data/tokenizer.js';
import { evaluationRanksOf } from '../distributed/evaluation-ranks.js';
import { endWithLauncher, ProcessGroup } from '../distributed/process-group.js';
import type { Rank } from '../distributed/rank.js';
import { download, fetchPretrained } from '../download/download.js';
import { isMemoryShort, messageOf, UserError } from '../errors.js';
import { appendEvaluation, recallTable, type SplitReport } from '../evaluation/report.js';
import { runSplit, type SplitRunOptions, saveScores } from '../evaluation/split-run.js';
import { MetricLogger, type MetricLoggerOptions } from '../logging/metric-logger.js';
import { pythonDict, pythonDuration } from '../logging/python-format.js';
import { type Architecture, architectureOf, loadConfig } from '../model/architecture.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { describeLoad, loadPretrained } from '../model/pretrained.js';
import { cudaState, resolveDevice } from '../torch/cuda.js';
import { manualSeed } from '../torch/generator.js';
import { native } from '../torch/native.js';
import type { Device } from '../torch/tensor.js';
import { lockFolder } from '../training/folder-lock.js';
import type { RetrievalOptions } from './options.js';

/** How long rank 0, stopped by a signal, waits for the others to come to their end. */
const SIGNALLED_PATIENCE_MS = 5_000;

export const SPLITS = ['val', 'test'] as const;
export type SplitName = (typeof SPLITS)[number];

/** What one evaluation found; also written to the output folder. */
export type RetrievalResult = Record<SplitName, SplitReport>;

/** What evaluation and training have in common, ready to use. */
export interface Prepared {
  options: RetrievalOptions;
  config: RetrievalConfig;
  architecture: Architecture;
  device: Device;
  splits: Record<SplitName, RetrievalSplit>;
  tokenizer: Tokenizer;
  logger: MetricLoggerOptions;
  print(line: string): void;
  /** The ranks of the run; undefined for one process. */
  group: ProcessGroup | undefined;
  /** Rank 0 writes the files and prints. */
  isMain: boolean;
  /** Lets another run train into the output folder. */
  unlock(): void;
}

// ---- device

/** The device's name for LibTorch; says so where the CPU was chosen for want of a GPU. Ranks take a GPU each. */
function chooseDevice(options: RetrievalOptions, place: Rank | undefined, print: (line: string) => void): Device {
  if (options.device === 'cpu') {
    native({ cuda: false });
    return 'cpu';
  }
  const cuda = cudaState();
  const own = place === undefined || place.worldSize === 1 ? undefined : place.localRank % Math.max(1, cuda.count);
  const { device, note } = resolveDevice(own === undefined || cuda.count === 0 ? options.device : `cuda:${own}`, cuda);
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

// ---- preparation: mistakes are found before anything takes time

async function loadSplits(config: RetrievalConfig): Promise<Record<SplitName, RetrievalSplit>> {
  const { annRoot, imageRoot, dataset } = config;
  const fetchFile = (url: string, destination: string) => download(url, destination);
  const load = (split: SplitName) => loadRetrievalSplit({ annRoot, imageRoot, dataset, split, download: fetchFile });
  const val = await load('val');
  return { val, test: await load('test') };
}

async function prepare(options: RetrievalOptions, place: Rank | undefined): Promise<Prepared> {
  const isMain = place === undefined || place.rank === 0;
  const print = options.quiet || !isMain ? () => {} : (line: string) => console.log(line);
  for (const note of options.notes) print(note);
  const config = loadConfig(options.config, options.set, { training: !options.evaluate });
  const architecture = architectureOf(config);
  const device = chooseDevice(options, place, print);
  if (place !== undefined) endWithLauncher(); // before anything that takes time, and in a rank that needs no group too
  const unlock = isMain && !options.evaluate ? await lockFolder(options.outputDir, { print }) : () => {};
  if (isMain) writeConfig(options.outputDir, config.raw);
  manualSeed(options.seed + (place?.rank ?? 0));
  print('Creating retrieval dataset');
  const splits = await loadSplits(config);
  for (const name of SPLITS) for (const note of splits[name].notes) print(note);
  const gpu = gpuIndex(device);
  const logger: MetricLoggerOptions = {
    print,
    quiet: options.quiet || !isMain,
    stream: process.stdout,
    ...(gpu === undefined ? {} : { maxMemory: () => native().deviceMemory(gpu).peakAllocated }),
  };
  const tokenizer = Tokenizer.load({ vocabFile: config.vocab });
  const timeoutMs = options.collectiveTimeoutMs;
  const group =
    place !== undefined && place.worldSize > 1 ? ProcessGroup.init({ ...place, device, timeoutMs }) : undefined;
  return { options, config, architecture, device, splits, tokenizer, logger, print, group, isMain, unlock };
}

/** The checkpoint that the config names, as a local file. */
export function pretrainedFile({ pretrained, sha256 }: RetrievalConfig): Promise<string> {
  return fetchPretrained(pretrained, sha256 === undefined ? {} : { sha256 });
}

/** How evaluation runs under these options. */
export function splitRunOptions({ config, options, logger, print, group }: Prepared): SplitRunOptions {
  return {
    ranks: group && evaluationRanksOf(group),
    kTest: config.kTest,
    batchSize: config.batchSizeTest,
    featureMemory: config.featureMemory,
    skipBadImages: options.skipBadImages,
    startLoop: (header, total) => new MetricLogger(logger).start(header, total),
    print,
  };
}

// ---- evaluation

async function evaluate(prepared: Prepared): Promise<RetrievalResult> {
  const { options, config, architecture, device, splits, tokenizer, print } = prepared;
  print('Creating model');
  const { state, report } = await loadPretrained(await pretrainedFile(config), architecture, options);
  for (const line of describeLoad(report)) print(line);
  const model = new BlipRetrieval(state, architecture, { device, precision: options.precision });
  const run = async (name: SplitName): Promise<SplitReport> => {
    const result = runSplit(model, tokenizer, name, splits[name], splitRunOptions(prepared));
    if (options.saveScores && prepared.isMain) await saveScores(options.outputDir, name, result.scores);
    return result.report;
  };
  const val = await run('val');
  const test = await run('test');
  print(pythonDict({ ...val.metrics }));
  print(pythonDict({ ...test.metrics }));
  if (prepared.isMain) appendEvaluation(options.outputDir, val.metrics, test.metrics);
  return { val, test };
}

/** The settings that lower what memory is needed, after what could not be allocated. */
function withMemoryAdvice(error: unknown, evaluating: boolean): UserError {
  const settings = evaluating
    ? 'lower batch_size_test or feature_memory'
    : 'lower batch_size_train or queue_size, or raise vit_ckpt_layer with vit_grad_ckpt: True (in the evaluation: batch_size_test, feature_memory)';
  const what = error instanceof UserError ? error.message : `Out of memory: ${messageOf(error)}`;
  return new UserError(`${what}; ${settings}, or use a machine with more memory`, { cause: error });
}

/**
 * Evaluates (`evaluate`) or fine-tunes; results go to the output folder. `place` is this process's among the ranks of
 * the run, undefined for one process; every rank gets the same results. Gives the recalls of the evaluated model, or of
 * training's last evaluation; undefined for training that was stopped before it.
 * Throws a UserError for whatever a user can mend.
 */
export async function runRetrieval(options: RetrievalOptions, place?: Rank): Promise<RetrievalResult | undefined> {
  const started = performance.now();
  const prepared = await prepare(options, place);
  const { print, isMain } = prepared;
  const work = options.evaluate ? evaluate : (await import('./fine-tune.js')).fineTune;
  const result = await work(prepared)
    .catch((error: unknown) => {
      throw isMemoryShort(error) ? withMemoryAdvice(error, options.evaluate) : error;
    })
    .finally(prepared.unlock);
  if (result !== undefined && isMain) console.log(recallTable([result.val, result.test]));
  print(
    `${options.evaluate ? 'Evaluated' : 'Trained'} in ${pythonDuration((performance.now() - started) / 1000)}; results are in ${options.outputDir}`,
  );
  // Not after a failure: the other ranks see the connection break. After a signal nobody may be left to wait for: the
  // launcher sends it when a rank was killed. The others wait until rank 0, which saves, is done and lets them go.
  const signalled = isMain && process.exitCode !== undefined;
  prepared.group?.destroy(signalled ? SIGNALLED_PATIENCE_MS : undefined);
  return result;
}
