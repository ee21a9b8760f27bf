// Fine-tuning: train_retrieval.py without --evaluate. Prepares model, data and position, then runs the training loop.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { TrainingSampler } from '../data/loader/sampler.js';
import { requireImages } from '../data/require-images.js';
import { loadTrainingSet } from '../data/training-set.js';
import { DataParallel } from '../distributed/data-parallel.js';
import { exchangeOf } from '../distributed/process-group.js';
import { restartedSince } from '../distributed/rank.js';
import { download } from '../download/download.js';
import { UserError } from '../errors.js';
import type { SplitReport } from '../evaluation/report.js';
import { runSplit } from '../evaluation/split-run.js';
import { pythonDict } from '../logging/python-format.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { describeLoad, loadTrainingState } from '../model/pretrained.js';
import { isEvaluated } from '../model/state-dict.js';
import { TrainingModel } from '../model/training-model.js';
import { AdamW } from '../torch/adamw.js';
import { manualSeed } from '../torch/generator.js';
import { scope } from '../torch/tensor.js';
import { checkpointBytes, roomWarning } from '../training/disk-space.js';
import { type EpochOptions, epochBatches } from '../training/epoch-batches.js';
import { ranksOf } from '../training/ranks.js';
import { takeUp } from '../training/resume.js';
import { hasEpochs } from '../training/run-logs.js';
import { type RunIdentity, startOfRun } from '../training/run-state.js';
import { StopSignals } from '../training/stop-signals.js';
import { type Ended, onlyRank, type TrainingRun, train } from '../training/train.js';
import {
  type Prepared,
  pretrainedFile,
  type RetrievalResult,
  SPLITS,
  type SplitName,
  splitRunOptions,
} from './retrieval.js';

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

/**
 * Trains, with an evaluation after every epoch. Gives the reports of the last evaluation; undefined when the run was
 * stopped before one. A run stopped by a signal sets the exit code a shell expects (130, 143).
 */
export async function fineTune(prepared: Prepared): Promise<RetrievalResult | undefined> {
  const { config, options, architecture, device, splits, tokenizer, print, group, isMain } = prepared;
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
  if (isMain && !options.skipBadImages) {
    requireImages(set.images, 'the train split');
    for (const name of SPLITS) requireImages(splits[name].images, `the ${name} split`);
  }
  const batchSize = settings.batchSizeTrain;
  const sampler = new TrainingSampler({ length: set.images.length, worldSize, rank, batchSize });
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
  const start =
    resume === undefined
      ? startOfRun()
      : await takeUp(resume, { model, report, optimizer, identity, rank, rawConfig: config.raw, print });
  const warning = isMain ? roomWarning(options.outputDir, checkpointBytes(model)) : undefined;
  if (warning !== undefined) print(warning);

  // ---- training
  let last: RetrievalResult | undefined;
  const signals = new StopSignals();
  const evaluate = async () => {
    signals.release(); // it takes long, and what was trained is saved
    last = scope((): RetrievalResult => {
      const online = new Map([...model.state].filter(([name]) => isEvaluated(name)));
      const evaluated = new BlipRetrieval(online, architecture, { device, precision: options.precision });
      const run = (name: SplitName): SplitReport =>
        runSplit(evaluated, tokenizer, name, splits[name], splitRunOptions(prepared)).report;
      return { val: run('val'), test: run('test') };
    });
    signals.watch();
    print(pythonDict({ ...last.val.metrics }));
    print(pythonDict({ ...last.test.metrics }));
    return { val: last.val.metrics, test: last.test.metrics };
  };
  const epochOptions: EpochOptions = {
    ...{ set, sampler, tokens, device, size: architecture.vision.imageSize },
    ...{ seed: options.seed, skipBadImages: options.skipBadImages },
  };
  const { saveEvery, maxSteps, accumulate, logEvery } = options.training;
  const run: TrainingRun = {
    model,
    optimizer,
    settings,
    rawConfig: config.raw,
    identity,
    ranks,
    stepsPerEpoch: sampler.batches,
    openEpoch: (epoch, firstBatch) => epochBatches(epochOptions, epoch, firstBatch),
    evaluate,
    outputDir: options.outputDir,
    // Asked to resume what was never saved, lines of steps go; but not those of epochs, which must be another run's.
    resuming: resume !== undefined || (options.training.resume !== undefined && !hasEpochs(options.outputDir)),
    saveEvery,
    maxSteps,
    accumulate,
    logEvery,
    logger: prepared.logger,
    print,
    stopping: () => signals.caught !== undefined,
  };
  print('Start training');
  let ended: Ended;
  try {
    signals.watch();
    ended = await train(run, start);
  } finally {
    signals.release();
    parallel?.dispose();
    model.dispose();
  }
  const signal = signals.caught;
  if (ended.outcome === 'stopped') {
    print(
      `Stopped${signal ? ` by ${signal}` : ''} after ${ended.steps} steps; checkpoint_last.pth is saved, --resume latest goes on`,
    );
    if (signal) process.exitCode = signal === 'SIGINT' ? 130 : 143;
  }
  return last;
}
