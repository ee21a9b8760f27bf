// This program's side of `bench train`: steps of the training loop itself, on decoded images that are never late.
import type { GradientSync } from '../../distributed/data-parallel.js';
import { at, UserError } from '../../errors.js';
import { imagesFromBytes } from '../../model/normalize-images.js';
import { range } from '../../model/offsets.js';
import { loadTrainingState } from '../../model/pretrained.js';
import { TrainingModel } from '../../model/training-model.js';
import { AdamW } from '../../torch/adamw.js';
import { openTensorFile } from '../../torch/checkpoint/index.js';
import { manualSeed } from '../../torch/generator.js';
import { native } from '../../torch/native.js';
import { loggedSteps } from '../../training/run-logs.js';
import { initialState } from '../../training/run-state.js';
import { trainEpoch } from '../../training/train.js';
import type { LoadedBatch } from '../../training/training-data.js';
import { architectureFor, drawnState } from '../drawn-weights.js';
import { scratchFolder } from '../harness.js';
import type { Commands } from '../protocol.js';
import { readImages } from '../workload.js';
import { ranks } from './place.js';
import { cpuSeconds, peakMemory, tokenizer, tokensOf } from './work.js';

// configs/retrieval_coco.yaml
const settings = { alpha: 0.4, learningRate: 1e-5, weightDecay: 0.05 };

let loaded: { model: TrainingModel; optimizer: AdamW; sync: GradientSync } | undefined;

export async function loadTraining(command: Commands['load_training']): Promise<void> {
  const { checkpoint, device, precision, vit_ckpt_layer: checkpointedBlocks } = command;
  const architecture = architectureFor(command);
  native().setTf32(precision === 'tf32');
  using file = checkpoint === undefined ? undefined : await openTensorFile(checkpoint);
  const state = file === undefined ? drawnState(architecture, () => true) : loadTrainingState(file, architecture).state;
  const options = { device, precision, negativeAllRank: true, checkpointedBlocks, encToken: tokenizer.encTokenId };
  const model = new TrainingModel(state, architecture, { ...options, ranks: ranks() });
  for (const tensor of state.values()) tensor.dispose();
  const parameters = [...model.parameters.values()];
  const optimizer = new AdamW(parameters, { weightDecay: settings.weightDecay });
  const trained = new Set(parameters);
  const sync = ranks().syncGradients(
    parameters,
    [...model.state.values()].filter((tensor) => !trained.has(tensor)),
  );
  manualSeed(42 + ranks().rank);
  loaded = { model, optimizer, sync };
}

/**
 * Runs one epoch of `trainEpoch` over the images, the last partial batch dropped; with `until` they come round again. Ranks
 * share each batch.
 */
export async function trainSteps({ images: path, captions, batch, until }: Commands['train']) {
  if (loaded === undefined) throw new UserError('No model is loaded. Load a model for training before training.');
  const { model, optimizer, sync } = loaded;
  const size = model.architecture.vision.imageSize;
  const pixels = readImages(path);
  const texts = tokensOf(captions);
  const count = Math.floor(pixels.length / batch);
  const { rank, worldSize } = ranks();
  const share = batch / worldSize;
  const batchOf = (step: number): LoadedBatch => {
    const first = step * batch + rank * share;
    const rows = [...range(first, first + share)];
    const bytes = Buffer.concat(rows.map((row) => at(pixels, row)));
    const images = imagesFromBytes(bytes, share, size, model.device);
    return { images, rows, idx: rows, texts: rows.map((row) => at(texts, row)), unread: [] };
  };
  const batches = until === undefined ? Array.from({ length: count }, (_, step) => batchOf(step)) : undefined;
  const marks: number[] = [];
  let start = Number.NaN;
  const next = () => {
    const step = marks.push(performance.now()) - 1;
    if (step === warmUp) start = cpuSeconds();
    return batches === undefined ? batchOf(step % count) : (batches[step] ?? null);
  };

  const outputDir = scratchFolder();
  const training = { accumulate: 1, logEvery: 1, saveEvery: undefined, maxSteps: undefined };
  const run = { ranks: ranks(), options: { outputDir, training }, logger: { quiet: true }, print: () => {} };
  const data = {
    stepsPerEpoch: batches?.length ?? Number.MAX_SAFE_INTEGER,
    open: () => ({ next, close: () => {} }),
    countBadImages: () => {},
    hasTooManyBadImages: false,
  };
  const { seconds = 0, warmUp = 0, least = 0 } = until ?? {};
  const isOver = () => marks.length >= warmUp + least && performance.now() - at(marks, warmUp) >= 1e3 * seconds;
  const signals = {
    get caught() {
      return until !== undefined && isOver() ? ('SIGTERM' as const) : undefined; // the loop's way to end early
    },
  };
  const trainer = { model, optimizer, settings, sync, signals, data };
  await trainEpoch(run, trainer, { ...initialState(), epoch: 1 }, settings.learningRate, async () => {});
  marks.push(performance.now());
  const cpu = cpuSeconds() - start;
  const steps = loggedSteps(outputDir);
  return {
    seconds: marks.slice(warmUp + 1).map((mark, i) => (mark - at(marks, warmUp + i)) / 1e3),
    cpu,
    loss_itm: steps.map(({ loss_itm }) => loss_itm),
    loss_ita: steps.map(({ loss_ita }) => loss_ita),
    memory: peakMemory(model.device),
  };
}
