// --dry_run: opens a run as it would begin, measures for a few seconds, and prints the memory and time that it needs.
// Nothing is written into the output folder.
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { requireAllImages } from '../data/require-images.js';
import { demandRoomFor } from '../disk/folder.js';
import { freeBytes } from '../disk/space.js';
import type { Rank } from '../distributed/rank.js';
import { oneRank } from '../distributed/ranks.js';
import { get } from '../errors.js';
import { chooseBudgets } from '../evaluation/budgets.js';
import { evaluationSeconds, keptBytesOfImage, type SplitCounts, stemBytes } from '../evaluation/estimate.js';
import { CPU_BATCH } from '../evaluation/evaluate-retrieval.js';
import { imageSource } from '../evaluation/image-source.js';
import { demandEncodingMemory, demandFeatureMemory } from '../evaluation/memory.js';
import { encodingBytes, tryEvaluation } from '../evaluation/trial.js';
import { uniqueTexts } from '../evaluation/unique-texts.js';
import { stepCosts } from '../evaluation/work-split.js';
import { fitted, roomOf } from '../logging/terminal.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { attainableMemory, returnFreedMemory } from '../torch/device-memory.js';
import { COPIES, checkpointBytes } from '../training/disk-space.js';
import { largestBatch, lineOf, trainingSeconds, valueAt } from '../training/estimate.js';
import { demandTrialMemory, keptBytes, recomputedBlocks, sumOf, trainingTooLarge } from '../training/memory.js';
import { type Run, SPLITS } from '../training/run.js';
import { stepsDone } from '../training/train.js';
import { trainingData } from '../training/training-data.js';
import { SMALLEST, tryTraining } from '../training/trial.js';
import { type EvaluationEstimate, evaluationLines, trainingLines } from './dry-run-report.js';
import { weights } from './evaluate.js';
import { openSet, prepare, stepSizes } from './fine-tune.js';
import { ranksHere } from './launch.js';
import type { LaunchFlags, RetrievalOptions } from './options.js';
import { checkpointToResume } from './resumed-checkpoint.js';
import { openRun, splitImages } from './run.js';

/** Seconds that features and re-ranking of the sample may take, each. */
const SECONDS = 6;
/** Of the memory that there is, the part that is planned with: allocators leave gaps. */
const USABLE = 0.95;

/** The ranks that a run will have. */
export interface Ranked {
  all: number;
  /** On this machine. */
  here: number;
}

/** Those that share the time, and those that share a memory: ranks on the CPUs of one machine share both cores and memory. */
function shares({ device }: Pick<Run, 'device'>, { all, here }: Ranked) {
  const onCpu = device === 'cpu';
  return { time: onCpu ? Math.max(1, Math.round(all / here)) : all, memory: onCpu ? here : 1 };
}

/**
 * Measures in this process alone, whatever ranks are asked for; of several that another launcher has started only the
 * first does it. @throws UserError for whatever a run would refuse, and for a batch that does not fit into the memory
 */
export async function dryRun(
  options: RetrievalOptions,
  place: Rank | undefined,
  machine: LaunchFlags | undefined,
): Promise<void> {
  if (place !== undefined && place.rank > 0) return;
  const here = machine === undefined ? (place?.localWorldSize ?? place?.worldSize ?? 1) : ranksHere(options, machine);
  const ranks: Ranked = { here, all: machine === undefined ? (place?.worldSize ?? 1) : here * machine.nnodes };
  demandRoomFor(options.outputDir);
  const { run } = await openRun(options);
  const lines = options.evaluate ? await dryEvaluation(run, ranks) : await dryTraining(run, ranks);
  run.voice.close();
  console.log(fitted(lines.join('\n')));
}

/** The part of the free memory that one rank can plan with. */
const usable = (run: Run, ranks: Ranked) => (USABLE * attainableMemory(run.device)) / shares(run, ranks).memory;

async function dryEvaluation(run: Run, ranks: Ranked): Promise<string[]> {
  requireAllImages(splitImages(run), run.options);
  run.voice.phase('Creating model', 'Creating model');
  const { precision } = run.options;
  using model = new BlipRetrieval(await weights(run), run.architecture, {
    device: run.device,
    precision,
    consume: true,
  });
  const start = process.uptime();
  run.voice.phase('Measuring');
  const evaluation = estimateEvaluation(run, model, ranks);
  return evaluationLines({ ...settingOf(run, ranks), start, evaluation }, roomOf(process.stdout));
}

const settingOf = (run: Run, ranks: Ranked) => ({
  device: run.device,
  precision: run.options.precision,
  ranks: ranks.all,
  sharing: shares(run, ranks).time,
  free: attainableMemory(run.device) / shares(run, ranks).memory,
});

/** Measures the larger split, and estimates both. @throws UserError where an evaluation does not fit into the memory */
function estimateEvaluation(run: Run, model: BlipRetrieval, ranks: Ranked): EvaluationEstimate {
  const { config, options, splits, tokenizer, architecture, device } = run;
  const { precision } = options;
  const { kTest, featureMemory } = config;
  const batchSize = device === 'cpu' ? Math.min(CPU_BATCH, config.batchSizeTest) : config.batchSizeTest;
  demandEncodingMemory(
    encodingBytes(model),
    { batchSize, imageSize: architecture.vision.imageSize },
    usable(run, ranks),
  );

  const inputs = SPLITS.map((name) => ({ name, texts: splits[name].texts.map((text) => tokenizer.encode(text).ids) }));
  const largest = [...SPLITS].sort((a, b) => splits[b].images.length - splits[a].images.length)[0] ?? 'test';
  const size = architecture.vision.imageSize;
  const images = imageSource(splits[largest], { size, batchSize, skipBadImages: options.skipBadImages });
  const texts = get(new Map(inputs.map((input) => [input.name, input.texts])), largest);
  const started = performance.now();
  const trial = tryEvaluation(
    model,
    { images, texts, encToken: tokenizer.encTokenId },
    { kTest, batchSize, seconds: SECONDS },
  );
  const measured = { ...trial.sample, seconds: (performance.now() - started) / 1e3 };

  const { time, memory } = shares(run, ranks);
  const budgets = chooseBudgets(model, featureMemory, memory);
  const ofImage = keptBytesOfImage(architecture, precision);
  const estimates = inputs.map(({ name, texts: rows }) => {
    const counts = countsOf(splits[name].images.length, rows);
    const share = Math.ceil(counts.images / (device === 'cpu' ? ranks.all : time));
    const kept = Math.min(share, Math.floor(budgets.images / ofImage));
    const stems = counts.tokens * stemBytes(architecture, precision);
    const plan = {
      kTest,
      steps: stepCosts(architecture),
      kept: kept === share ? counts.images : kept * time,
      ranks: time,
    };
    const split = { name, ...counts, ...evaluationSeconds(counts, trial.costs, plan), kept, share };
    return { split, bytes: { images: kept * ofImage, stems: stems <= budgets.stems ? stems : 0 } };
  });
  const most = (of: 'images' | 'stems') => Math.max(...estimates.map(({ bytes }) => bytes[of]));
  const needed = { images: most('images'), stems: most('stems'), working: trial.working };
  if (featureMemory !== undefined) demandFeatureMemory(featureMemory, needed, usable(run, ranks));
  return { splits: estimates.map(({ split }) => split), memory: needed, measured };
}

function countsOf(images: number, texts: readonly Int32Array[]): SplitCounts {
  const { rows, lengths } = uniqueTexts(texts);
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  return { images, texts: texts.length, distinct: rows.length, tokens };
}

async function dryTraining(run: Run, ranks: Ranked): Promise<string[]> {
  const { config, options } = run;
  const settings = config.training;
  if (settings === undefined) throw new Error('The config was loaded without the settings of training.');
  const batch = settings.batchSizeTrain;
  const sizes = stepSizes(run, settings);
  const { memory, time } = shares(run, ranks);
  const share = attainableMemory(run.device) / memory;
  demandTrialMemory(sizes, Math.min(batch, SMALLEST), batch, share);

  const set = await openSet(run);
  const ranked: Run = { ...run, ranks: { ...oneRank, worldSize: ranks.all } };
  const data = trainingData(ranked, set, batch);
  // Small batches leave more memory than the config's: they are to do what that will.
  const recompute = recomputedBlocks(sizes, batch, share) > 0;
  const { model, optimizer, sync, state } = await prepare(
    ranked,
    settings,
    data,
    checkpointToResume(options),
    recompute,
  );
  const start = process.uptime();
  const bytes = checkpointBytes(model);
  run.voice.phase('Measuring steps', 'Measuring steps');
  const fits = (needed: number) => needed <= usable(run, ranks);
  const trial = await tryTraining(run, { settings, model, optimizer, sync }, { set, batch, fits });
  const peaks = lineOf(trial.measures, 'peak', sumOf(keptBytes(run.architecture)));
  const atBatch = trial.measures.find((measure) => measure.batch === batch);
  const peak = atBatch?.peak ?? valueAt(peaks, batch);
  const step = atBatch?.seconds ?? valueAt(lineOf(trial.measures, 'seconds'), batch);
  const most = largestBatch(peaks, usable(run, ranks));
  if (!fits(peak)) throw trainingTooLarge({ batch, peak, most, free: attainableMemory(run.device) / memory });

  returnFreedMemory(); // as a run does
  using evaluated = model.evaluated();
  const evaluation = estimateEvaluation(run, evaluated, ranks);
  const evaluationTime = evaluation.splits.reduce((sum, { features, rerank }) => sum + features + rerank, 0);
  const plan = {
    stepsPerEpoch: data.stepsPerEpoch,
    epochs: settings.maxEpoch,
    done: stepsDone(state, data),
    maxSteps: options.training.maxSteps,
  };
  // Ranks on the CPUs of one machine take turns at its cores.
  const seconds = trainingSeconds(plan, {
    step: (step * ranks.all) / time,
    start: trial.start,
    evaluation: evaluationTime,
  });
  return trainingLines(
    {
      ...settingOf(run, ranks),
      start,
      evaluation,
      batch,
      kept: keptBytes(run.architecture),
      peak,
      most,
      rows: Math.floor(set.captions.length / ranks.all),
      measures: trial.measures,
      step,
      seconds,
      plan,
      disk: { bytes: COPIES * bytes, free: freeOf(options.outputDir), folder: options.outputDir },
    },
    roomOf(process.stdout),
  );
}

/** Bytes that are free where `folder` is, or will be made. */
function freeOf(folder: string): number {
  let existing = resolve(folder);
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  return freeBytes(existing);
}
