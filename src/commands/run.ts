// Opening a run: config, device, data and ranks are made ready, so that mistakes are found before anything takes time.
import { join } from 'node:path';
import type { RetrievalConfig } from '../config/load.js';
import { writeConfig } from '../config/write.js';
import { loadRetrievalSplit } from '../data/annotations.js';
import type { ImageSet } from '../data/require-images.js';
import { Tokenizer } from '../data/tokenizer.js';
import { endWithLauncher } from '../distributed/parent.js';
import { ProcessGroup } from '../distributed/process-group.js';
import type { Rank } from '../distributed/rank.js';
import { oneRank } from '../distributed/ranks.js';
import { download } from '../download/download.js';
import { fetchPretrained, type PretrainedFile } from '../download/pretrained-file.js';
import { evaluateRetrieval, saveScores } from '../evaluation/evaluate-retrieval.js';
import { writeRetrieved } from '../evaluation/examples.js';
import { insightOf, writeInsight } from '../evaluation/insight.js';
import type { SplitReport } from '../evaluation/report.js';
import { setLastWords } from '../libtorch/last-words.js';
import { MetricLogger, type MetricLoggerOptions } from '../logging/metric-logger.js';
import { pythonDict } from '../logging/python-format.js';
import type { Voice } from '../logging/terminal.js';
import { architectureOf, loadConfig } from '../model/architecture.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { sizesOf } from '../model/checkpoint-entries.js';
import { openCheckpoint } from '../torch/checkpoint/index.js';
import { gpuIndex } from '../torch/cuda.js';
import { manualSeed } from '../torch/generator.js';
import { native } from '../torch/native.js';
import { lockFolder } from '../training/folder-lock.js';
import { isMain, type RetrievalResult, type Run, SPLITS, type SplitName } from '../training/run.js';
import { chooseDevice } from './choose-device.js';
import type { EvaluationForecast } from './forecast.js';
import type { RetrievalOptions } from './options.js';
import { checkpointToResume } from './resumed-checkpoint.js';
import { stoppedWords } from './signal-words.js';
import { loggerOf, notesOf, voiceOf } from './voice.js';

/**
 * Makes a run ready. `rank` is this process's among the ranks of the run, undefined for one process. `unlock` lets another
 * run train into the output folder. @throws UserError for whatever a user can mend
 */
export async function openRun(
  options: RetrievalOptions,
  rank?: Rank,
  voice: Voice = voiceOf(options, isFirst(rank)),
): Promise<{ run: Run; unlock: () => void }> {
  const main = isFirst(rank);
  const print = notesOf(voice);
  for (const note of options.notes) print(note);
  const config = loadConfig(options.config, options.set, {
    training: !options.evaluate,
    strictConfig: options.strictConfig,
  });
  for (const note of config.notes) print(note);
  const device = chooseDevice(options, rank, print);
  // Standard error may be the launcher's: what is said there comes through to the terminal.
  if (main && voice.calm) setLastWords(stoppedWords(options));
  if (rank !== undefined) endWithLauncher(); // before anything that takes time, and in a rank that needs no group too
  const writes = main && !options.dryRun;
  const unlock = writes && !options.evaluate ? await lockFolder(options.outputDir, { print }) : () => {};
  const { architecture, pretrained, raw } = await readSizes(config, options, print);
  if (writes) writeConfig(options.outputDir, raw);
  manualSeed(options.seed + (rank?.rank ?? 0));
  voice.phase('Reading data', 'Creating retrieval dataset');
  const { allowOutsideImages } = options;
  const load = (split: SplitName) => loadRetrievalSplit({ ...pathsOf(config), split, download, allowOutsideImages });
  const splits = { val: await load('val'), test: await load('test') };
  for (const name of SPLITS) for (const note of splits[name].notes) print(note);
  const gpu = gpuIndex(device);
  const logger: MetricLoggerOptions = {
    ...loggerOf(voice, options, main),
    ...(gpu === undefined ? {} : { maxMemory: () => native().deviceMemory(gpu).peakAllocated }),
  };
  const tokenizer = Tokenizer.load({ vocabFile: config.vocab });
  const several = rank !== undefined && rank.worldSize > 1;
  const say = options.quiet ? () => {} : (line: string) => console.error(line);
  const ranks = several ? ProcessGroup.init({ ...rank, device, timeoutMs: options.collectiveTimeoutMs, say }) : oneRank;
  return {
    run: {
      options,
      config: { ...config, raw },
      architecture,
      pretrained,
      device,
      splits,
      tokenizer,
      ranks,
      logger,
      voice,
      print,
    },
    unlock,
  };
}

/** Whether this is rank 0, which speaks and writes. */
export const isFirst = (rank: Rank | undefined): boolean => rank === undefined || rank.rank === 0;

function pathsOf({ annRoot, imageRoot, dataset }: RetrievalConfig) {
  return { annRoot, imageRoot, dataset };
}

/** The checkpoint that the config names, as a local file; undefined where it names none. */
export async function pretrainedFile({ config, pretrained, print }: Run): Promise<PretrainedFile | undefined> {
  return pretrained ?? (await fetchFor(config, print));
}

async function fetchFor(
  { pretrained, sha256 }: RetrievalConfig,
  print: (line: string) => void,
): Promise<PretrainedFile | undefined> {
  return pretrained === ''
    ? undefined
    : fetchPretrained(pretrained, { print, ...(sha256 !== undefined && { sha256 }) });
}

/**
 * The model's sizes. Those that the config leaves out are those of the checkpoint that is continued, so that the file
 * where the run began is not needed again; else the pretrained one's, which is then fetched now. `raw` is the config with
 * them. @throws UserError where none has them
 */
async function readSizes(config: RetrievalConfig, options: RetrievalOptions, print: (line: string) => void) {
  const training = !options.evaluate;
  const { vit, imageSize, queueSize, raw } = config;
  const isComplete = vit !== undefined && imageSize !== undefined && (queueSize !== undefined || !training);
  const resumed = training ? checkpointToResume(options) : undefined;
  const pretrained = isComplete || resumed !== undefined ? undefined : await fetchFor(config, print);
  const path = isComplete ? undefined : (resumed ?? pretrained?.path);
  if (path === undefined) return { architecture: architectureOf(config), pretrained, raw };
  const found = sizesOf(openCheckpoint(path));
  const architecture = architectureOf(config, found);
  const added = {
    ...(vit === undefined && { vit: found.vit }),
    ...(imageSize === undefined && { image_size: found.imageSize }),
    ...(training && queueSize === undefined && { queue_size: architecture.queueSize }),
  };
  const sizes = Object.entries(added).map(([key, value]) => `${key} ${value}`);
  const queues = 'queue_size' in added && found.queueSize === undefined ? '; it has no queues' : '';
  print(`The config leaves out ${sizes.join(', ')}: as ${path} needs it${queues}.`);
  return { architecture, pretrained, raw: { ...raw, ...added } };
}

/** The images of both splits, as `requireAllImages` takes them. */
export function splitImages({ splits }: Pick<Run, 'splits'>): ImageSet[] {
  return SPLITS.map((name) => ({ what: `the ${name} split`, paths: splits[name].images }));
}

/**
 * Evaluates `model` on both splits, and prints the recalls of each as soon as they are known. `onSplit` gets
 * them, too; `forecast` watches how it begins.
 */
export async function runSplits(
  model: BlipRetrieval,
  run: Run,
  onSplit: (report: SplitReport) => Promise<void> = async () => {},
  forecast?: EvaluationForecast,
): Promise<RetrievalResult> {
  const { options, config, splits, tokenizer, ranks, logger, voice, print } = run;
  const evaluateSplitOf = async (name: SplitName): Promise<SplitReport> => {
    const evaluation = evaluateRetrieval(model, tokenizer, name, splits[name], {
      ranks,
      kTest: config.kTest,
      batchSize: config.batchSizeTest,
      featureMemory: config.featureMemory,
      skipBadImages: options.skipBadImages,
      startLoop: (header, total, work) => {
        voice.close();
        const label = `${header === 'Features:' ? 'Features' : 'Re-ranking'} ${name}`;
        const log = new MetricLogger(logger).start(header, total, 50, 0, { label, unit: 'images', work });
        return forecast?.watch(log, total) ?? log;
      },
      print,
      echo: (line) => voice.echo(line),
    });
    const { report, scores } = evaluation;
    if (isMain(run)) {
      const { outputDir, seed } = options;
      const { imageRoot } = config;
      const input = { ...evaluation, split: splits[name], architecture: run.architecture, imageRoot, seed };
      const { insight, retrieved } = insightOf(input);
      await writeInsight(outputDir, insight);
      // Training would write the scores of every epoch over each other.
      if (options.saveScores && options.evaluate) {
        await saveScores(outputDir, name, scores);
        await writeRetrieved(join(outputDir, `retrieved_${name}.jsonl`), retrieved);
      }
    }
    voice.echo(pythonDict({ ...report.metrics }));
    await onSplit(report);
    return report;
  };
  return { val: await evaluateSplitOf('val'), test: await evaluateSplitOf('test') };
}
