// Fine-tuning: train_retrieval.py without --evaluate. Makes data, model and optimizer ready, decides where to start, trains.
import type { TrainingConfig } from '../config/load.js';
import { requireAllImages } from '../data/require-images.js';
import { loadTrainingSet, type TrainingSet } from '../data/training-set.js';
import { exitCodeOf } from '../distributed/signals.js';
import { download } from '../download/download.js';
import { type EndingSignal, setLastWords } from '../libtorch/last-words.js';
import { counted } from '../logging/text.js';
import { describeConfigJson } from '../model/hugging-face-config.js';
import { describeLoad, describeMade, loadTrainingState, randomTrainingState } from '../model/pretrained.js';
import { TrainingModel } from '../model/training-model.js';
import { AdamW } from '../torch/adamw.js';
import { openTensorFile } from '../torch/checkpoint/index.js';
import { attainableMemory, freeSwap, returnFreedMemory } from '../torch/device-memory.js';
import { manualSeed } from '../torch/generator.js';
import { checkpointBytes, roomWarning } from '../training/disk-space.js';
import { demandTrainingMemory, type StepSizes } from '../training/memory.js';
import { resumeRun } from '../training/resume.js';
import { isMain, type RetrievalResult, type Run } from '../training/run.js';
import { openEvents } from '../training/run-events.js';
import { forgetLater, hasEpochs } from '../training/run-logs.js';
import { initialState } from '../training/run-state.js';
import { StopSignals } from '../training/stop-signals.js';
import { identityOf, stepsDone, type Trainer, train } from '../training/train.js';
import { type TrainingData, trainingData } from '../training/training-data.js';
import { withForecast } from './forecast.js';
import { checkpointToResume, describeStart } from './resumed-checkpoint.js';
import { pretrainedFile, runSplits, splitImages } from './run.js';
import { stoppedWords } from './signal-words.js';

/**
 * Trains, with an evaluation after every epoch. Gives the reports of the last evaluation; undefined when the run was
 * stopped before one. A run stopped by a signal sets the exit code that a shell expects (130 after SIGINT, 143 after SIGTERM).
 * @throws UserError for whatever a user can mend
 */
export async function fineTune(run: Run): Promise<RetrievalResult | undefined> {
  const { config, options, print } = run;
  const settings = config.training;
  if (settings === undefined) throw new Error('The config was loaded without the settings of training.');
  const swap = run.device === 'cpu' ? freeSwap() : 0;
  print(demandTrainingMemory(stepSizes(run, settings), settings.batchSizeTrain, attainableMemory(run.device), swap));
  const data = trainingData(run, await openSet(run), settings.batchSizeTrain);

  const resumed = checkpointToResume(options);
  const start = resumed === undefined ? describeStart(options) : undefined;
  if (start !== undefined) print(start);
  const { model, optimizer, sync, state } = await prepare(run, settings, data, resumed);
  // A resume of a run that has saved nothing yet removes its lines of steps; lines of epochs belong to another run.
  const resumesLog = resumed !== undefined || (options.training.resume !== undefined && !hasEpochs(options.outputDir));
  const trains = state.epoch < settings.maxEpoch; // else its lines stay
  if (isMain(run) && resumesLog && trains) await forgetLater(options.outputDir, state, data.stepsPerEpoch);
  const events = openEvents(run, stepsDone(state, data));
  const warning = isMain(run) ? roomWarning(options.outputDir, checkpointBytes(model)) : undefined;
  if (warning !== undefined) print(warning);

  let last: RetrievalResult | undefined;
  const speaks = run.voice.calm && isMain(run);
  const signals = new StopSignals(speaks ? { noted: stopping } : {});
  const evaluate = async () => {
    signals.release(); // it takes long, and what was trained is saved
    if (speaks) setLastWords({ last: (signal) => stoppedText(run, `by ${signal} in the evaluation`) });
    returnFreedMemory(); // of the steps: the evaluation needs less, and its blocks have other sizes
    using evaluated = model.evaluated();
    last = await runSplits(evaluated, run);
    if (events !== undefined)
      await (await import('../report/gallery-strips.js')).addGallery(
        events,
        (state.epoch + 1) * data.stepsPerEpoch,
        options.outputDir,
      );
    returnFreedMemory();
    signals.watch();
    return last;
  };
  const plan = {
    stepsPerEpoch: data.stepsPerEpoch,
    epochs: settings.maxEpoch,
    done: stepsDone(state, data),
    maxSteps: options.training.maxSteps,
  };
  const watched = withForecast(run, data, plan);
  const trainer: Trainer = { settings, model, optimizer, sync, data: watched, signals, evaluate };
  run.voice.echo('Start training');
  run.voice.close();
  try {
    signals.watch();
    if ((await train({ ...run, events }, trainer, state)) === 'stopped') {
      const by = signals.caught === undefined ? '' : `by ${signals.caught} `;
      print(stoppedText(run, `${by}after ${counted(stepsDone(state, data), 'step')}`));
      if (signals.caught !== undefined) process.exitCode = exitCodeOf(signals.caught);
    }
  } finally {
    signals.release();
    if (speaks) setLastWords(stoppedWords({}));
    events?.close();
    sync.dispose();
    model.dispose();
  }
  return last;
}

/** Said at once when a signal is noted: a step may take long. */
function stopping(signal: EndingSignal): string {
  const again = signal === 'SIGINT' ? 'Ctrl-C' : signal;
  return `Stopping after this step, which is saved first. Another ${again} ends the run at once.`;
}

/** How a run ended before its time, `how`, and how it goes on. */
function stoppedText({ options }: Pick<Run, 'options'>, how: string): string {
  const go =
    options.continueWith === undefined ? ' Continue with --resume latest.' : ` To continue:\n${options.continueWith}`;
  return `Stopped ${how}; checkpoint_last.pth is saved.${go}`;
}

/** What of a run decides the memory of its steps. */
export function stepSizes(
  { architecture, options, device, ranks }: Run,
  { vitGradCkpt, vitCkptLayer }: TrainingConfig,
): StepSizes {
  const checkpointedBlocks = vitGradCkpt ? vitCkptLayer : 0;
  const { precision } = options;
  return { architecture, precision, device, checkpointedBlocks, ranks: device === 'cpu' ? ranks.worldSize : 1 };
}

/** The training set, all of whose images are there. */
export async function openSet(run: Run): Promise<TrainingSet> {
  const { annRoot, imageRoot, dataset } = run.config;
  const { allowOutsideImages } = run.options;
  const set = await loadTrainingSet({ annRoot, imageRoot, dataset, download, allowOutsideImages, print: run.print });
  for (const note of set.notes ?? []) run.print(note);
  const train = { what: 'the train split', paths: set.files?.paths ?? set.images };
  if (isMain(run)) requireAllImages([train, ...splitImages(run)], run.options);
  return set;
}

/**
 * Everything that a checkpoint decides: it is opened, checksummed and mapped once, for weights and position alike.
 * `recompute` is TrainingModel's.
 */
export async function prepare(
  run: Run,
  settings: TrainingConfig,
  data: TrainingData,
  resumed: string | undefined,
  recompute?: boolean,
) {
  const { options, architecture, device, tokenizer, ranks, print } = run;
  run.voice.phase('Creating model', 'Creating model');
  const pretrained = resumed === undefined ? await pretrainedFile(run) : undefined;
  const path = resumed ?? pretrained?.path;
  using file = path === undefined ? undefined : await openTensorFile(path, ranks);
  const loaded = file === undefined ? undefined : loadTrainingState(file, architecture, options);
  if (loaded === undefined) print('The config has no pretrained: training starts from random weights.');
  else for (const line of [...describeLoad(loaded.report), ...describeMade(loaded.report)]) print(line);
  for (const line of describeConfigJson(pretrained, architecture)) print(line);
  const weights = loaded?.state ?? randomTrainingState(architecture, options);
  const model = new TrainingModel(weights, architecture, {
    device,
    negativeAllRank: settings.negativeAllRank,
    checkpointedBlocks: stepSizes(run, settings).checkpointedBlocks,
    recompute,
    encToken: tokenizer.encTokenId,
    precision: options.precision,
    ranks,
  });
  for (const tensor of weights.values()) tensor.dispose();
  const parameters = [...model.parameters.values()];
  const optimizer = new AdamW(parameters, { weightDecay: settings.weightDecay });
  const trained = new Set(parameters);
  const buffers = [...model.state.values()].filter((tensor) => !trained.has(tensor));
  const sync = ranks.syncGradients(parameters, buffers);
  manualSeed(options.seed + ranks.rank);
  const state =
    resumed === undefined || file === undefined || loaded === undefined
      ? initialState()
      : resumeRun(run, { model, optimizer }, file, loaded.report, identityOf(run, data));
  return { model, optimizer, sync, state };
}
