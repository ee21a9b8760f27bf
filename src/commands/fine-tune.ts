// Fine-tuning: train_retrieval.py without --evaluate. Prepares model, data and position, then runs the training loop.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { TrainingSampler } from '../data/sampler.js';
import { trainingEpoch } from '../data/training-loader.js';
import { loadTrainingSet, type TrainingSet } from '../data/training-set.js';
import { DataParallel } from '../distributed/data-parallel.js';
import { exchangeOf } from '../distributed/process-group.js';
import { restartedSince } from '../distributed/rank.js';
import { download } from '../download.js';
import { UserError } from '../errors.js';
import type { SplitReport } from '../evaluation/report.js';
import { runSplit } from '../evaluation/split-run.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { isEvaluated } from '../model/entries.js';
import { normalizeImages } from '../model/normalize-images.js';
import { describeLoad, loadTrainingState } from '../model/pretrained.js';
import { TrainingModel } from '../model/training-model.js';
import { pythonDict } from '../python-format.js';
import { AdamW } from '../torch/adamw.js';
import { manualSeed } from '../torch/generator.js';
import * as ops from '../torch/ops.js';
import { scope } from '../torch/tensor.js';
import { type Progress, type RunIdentity, startOfRun } from '../training/progress.js';
import { ranksOf } from '../training/ranks.js';
import { type EpochBatches, type Outcome, onlyRank, type TrainingRun, train } from '../training/train.js';
import { restoreRandom, resumeFrom } from '../training/training-checkpoint.js';
import { type Prepared, pretrainedFile, type RetrievalResult, type SplitName, splitRunOptions } from './retrieval.js';

/** The checkpoint to go on from: what this run itself has saved before a restart, else what `--resume` names, else none. */
function resumeFile({ options, print }: Prepared): string | undefined {
  const { resume } = options.training;
  const latest = join(options.outputDir, 'checkpoint_last.pth');
  const saved = statSync(latest, { throwIfNoEntry: false })?.mtimeMs;
  const launched = restartedSince(process.env);
  if (saved !== undefined && launched !== undefined && saved >= launched) return latest;
  if (resume === undefined) {
    if (saved !== undefined)
      print(`Starting anew: this will overwrite ${latest} of an earlier run, from which --resume latest would go on`);
    return undefined;
  }
  if (resume !== 'latest') return resume;
  if (saved !== undefined) return latest;
  print(`There is no ${latest} to resume from yet: starting from the beginning`);
  return undefined;
}

/** Batches of an epoch from the loader's workers, as the training loop takes them. */
function epochBatches(
  { architecture, options, device }: Prepared,
  set: TrainingSet,
  tokens: Int32Array[],
  sampler: TrainingSampler,
) {
  const size = architecture.vision.imageSize;
  const { seed, skipBadImages } = options;
  return (epoch: number, firstBatch: number): EpochBatches => {
    const { loader, rows: order } = trainingEpoch({ set, sampler, epoch, seed, firstBatch, size, skipBadImages });
    return {
      next() {
        const batch = loader.next();
        if (batch === null) return null;
        const rows = [...order.subarray(batch.start, batch.start + batch.count)];
        const bytes = batch.data.subarray(0, batch.count * size * size * 3);
        const images = scope(() =>
          normalizeImages(ops.fromBytes(bytes, 'uint8', [batch.count, size, size, 3]), device),
        );
        batch.release();
        return {
          images,
          rows,
          texts: rows.map((row) => tokens[row] ?? new Int32Array()),
          idx: rows.map((row) => set.idx[row] ?? 0),
        };
      },
      close: () => loader.close(),
    };
  };
}

/** Counts SIGINT and SIGTERM: the first asks for a save at the next step, a second ends the process at once. */
function watchSignals(): { caught: () => NodeJS.Signals | undefined; end: () => void } {
  let caught: NodeJS.Signals | undefined;
  const handlers = (['SIGINT', 'SIGTERM'] as const).map((signal) => {
    const handler = () => {
      caught = signal;
    };
    process.once(signal, handler);
    return { signal, handler };
  });
  return {
    caught: () => caught,
    end: () => {
      for (const { signal, handler } of handlers) process.off(signal, handler);
    },
  };
}

/**
 * Trains, with an evaluation after every epoch. Gives the reports of the last evaluation; undefined when the run was
 * stopped before one. A run stopped by a signal sets the exit code a shell expects (130, 143).
 */
export async function fineTune(prepared: Prepared): Promise<RetrievalResult | undefined> {
  const { config, options, architecture, device, splits, tokenizer, print, group } = prepared;
  const [rank, worldSize] = [group?.rank ?? 0, group?.worldSize ?? 1];
  const settings = config.training;
  if (settings === undefined) throw new UserError(`${options.config} lacks settings that training needs`);
  const { annRoot, imageRoot, dataset } = config;
  const set = await loadTrainingSet({
    annRoot,
    imageRoot,
    dataset,
    download: (url: string, destination: string) => download(url, destination),
  });
  const batchSize = settings.batchSizeTrain;
  const sampler = new TrainingSampler({ length: set.images.length, world: worldSize, rank, batchSize });
  const tokens = set.captions.map((caption) => Int32Array.from(tokenizer.encode(caption).ids));

  // ---- model, optimizer, position
  print('Creating model');
  const resume = resumeFile(prepared);
  const source = resume ?? (await pretrainedFile(config));
  const { state, report } = await loadTrainingState(source, architecture, options);
  for (const line of describeLoad(report)) print(line);
  const model = new TrainingModel(state, architecture, {
    device,
    negativeAllRank: settings.negativeAllRank,
    checkpointedBlocks: settings.vitGradCkpt ? settings.vitCkptLayer : 0,
    encToken: tokenizer.encTokenId,
    precision: options.precision,
    ...(group && { exchange: exchangeOf(group) }),
  });
  for (const tensor of state.values()) tensor.dispose();
  const parameters = [...model.parameters.values()];
  const optimizer = new AdamW(parameters, { weightDecay: settings.weightDecay });
  const learned = new Set(parameters);
  const buffers = [...model.state.values()].filter((tensor) => !learned.has(tensor));
  const parallel = group && new DataParallel(parameters, buffers, group);
  const ranks = group && parallel ? ranksOf(group, parallel) : onlyRank;
  const identity: RunIdentity = { worldSize, batchSize, rows: set.images.length, seed: options.seed };
  manualSeed(options.seed + rank);
  let start: Progress = startOfRun();
  if (resume !== undefined) {
    const resumed = await resumeFrom(resume, model, optimizer, identity, rank);
    if (resumed.resume !== undefined) {
      start = resumed.resume.progress;
      restoreRandom(resumed.resume.random, device);
      print(`Resuming ${resume} in epoch ${start.epoch} after step ${start.step}`);
    } else {
      start = { ...start, epoch: resumed.epoch + 1 };
      print(`Resuming ${resume} with epoch ${start.epoch}; it holds no random state, so this is no exact continuation`);
    }
  }

  // ---- training
  let last: RetrievalResult | undefined;
  const evaluate = async () => {
    last = scope((): RetrievalResult => {
      const online = new Map([...model.state].filter(([name]) => isEvaluated(name)));
      const evaluated = new BlipRetrieval(online, architecture, { device, precision: options.precision });
      const run = (name: SplitName): SplitReport =>
        runSplit(evaluated, tokenizer, name, splits[name], splitRunOptions(prepared)).report;
      return { val: run('val'), test: run('test') };
    });
    print(pythonDict({ ...last.val.metrics }));
    print(pythonDict({ ...last.test.metrics }));
    return { val: last.val.metrics, test: last.test.metrics };
  };
  const signals = watchSignals();
  const { saveEvery, maxSteps, accumulate, logEvery } = options.training;
  const run: TrainingRun = {
    model,
    optimizer,
    settings,
    rawConfig: config.raw,
    identity,
    ranks,
    stepsPerEpoch: sampler.batches,
    openEpoch: epochBatches(prepared, set, tokens, sampler),
    evaluate,
    outputDir: options.outputDir,
    resuming: resume !== undefined || options.training.resume !== undefined,
    saveEvery,
    maxSteps,
    accumulate,
    logEvery,
    logger: prepared.logger,
    print,
    stopping: () => signals.caught() !== undefined,
  };
  print('Start training');
  let outcome: Outcome;
  try {
    outcome = await train(run, start);
  } finally {
    signals.end();
    parallel?.dispose();
    model.dispose();
  }
  const signal = signals.caught();
  if (outcome === 'stopped') {
    print(
      `Stopped${signal ? ` by ${signal}` : ` after ${maxSteps} steps`}; checkpoint_last.pth is saved, --resume latest goes on`,
    );
    if (signal) process.exitCode = signal === 'SIGINT' ? 130 : 143;
  }
  return last;
}
