// This program's side of `bench train`: steps of the training loop itself, on decoded images that are never late.
import { preCaption } from '../../data/caption.js';
import { Tokenizer } from '../../data/tokenizer.js';
import { noSync } from '../../distributed/data-parallel.js';
import { oneRank } from '../../distributed/ranks.js';
import { at, UserError } from '../../errors.js';
import { normalizeImages } from '../../model/normalize-images.js';
import { range } from '../../model/offsets.js';
import { loadTrainingState } from '../../model/pretrained.js';
import { TrainingModel } from '../../model/training-model.js';
import { AdamW } from '../../torch/adamw.js';
import { openTensorFile } from '../../torch/checkpoint/index.js';
import { manualSeed } from '../../torch/generator.js';
import { native } from '../../torch/native.js';
import * as ops from '../../torch/ops.js';
import { scope } from '../../torch/tensor.js';
import { loggedSteps } from '../../training/run-logs.js';
import { initialState } from '../../training/run-state.js';
import { trainEpoch } from '../../training/train.js';
import type { LoadedBatch } from '../../training/training-data.js';
import { architectureFor } from '../drawn-weights.js';
import { scratchFolder } from '../harness.js';
import type { CommandOf } from '../protocol.js';
import { readImages } from '../workload.js';
import { cpuSeconds, peakMemory } from './work.js';

// configs/retrieval_coco.yaml
const ALPHA = 0.4;
const LEARNING_RATE = 1e-5;
const WEIGHT_DECAY = 0.05;

let loaded: { model: TrainingModel; optimizer: AdamW; tokenizer: Tokenizer } | undefined;

export async function loadTraining(command: CommandOf<'load_training'>): Promise<void> {
  const { checkpoint, device, precision, vit_ckpt_layer: checkpointedBlocks } = command;
  const architecture = architectureFor(command);
  native().setTf32(precision === 'tf32');
  const tokenizer = Tokenizer.load();
  using file = await openTensorFile(checkpoint);
  const { state } = loadTrainingState(file, architecture);
  const options = { device, precision, negativeAllRank: true, checkpointedBlocks, encToken: tokenizer.encTokenId };
  const model = new TrainingModel(state, architecture, options);
  for (const tensor of state.values()) tensor.dispose();
  manualSeed(42);
  const optimizer = new AdamW([...model.parameters.values()], { weightDecay: WEIGHT_DECAY });
  loaded = { model, optimizer, tokenizer };
}

/** Runs one epoch of `trainEpoch` over the images, the last partial batch dropped. */
export async function trainSteps({ images: path, captions, batch }: CommandOf<'train'>) {
  if (loaded === undefined) throw new UserError('No model is loaded. Load a model for training before training.');
  const { model, optimizer, tokenizer } = loaded;
  const size = model.architecture.vision.imageSize;
  const pixels = readImages(path);
  const texts = captions.map((caption) => tokenizer.encode(preCaption(caption)).ids);
  const batches = Array.from({ length: Math.floor(pixels.length / batch) }, (_, step): LoadedBatch => {
    const rows = [...range(step * batch, (step + 1) * batch)];
    const bytes = Buffer.concat(rows.map((row) => at(pixels, row)));
    const images = scope(() => normalizeImages(ops.fromBytes(bytes, 'uint8', [batch, size, size, 3]), model.device));
    return { images, rows, idx: rows, texts: rows.map((row) => at(texts, row)), unread: [] };
  });
  const marks: number[] = [];
  const next = () => batches[marks.push(performance.now()) - 1] ?? null;

  const outputDir = scratchFolder();
  const training = { accumulate: 1, logEvery: 1, saveEvery: undefined, maxSteps: undefined };
  const run = { ranks: oneRank, options: { outputDir, training }, logger: { quiet: true }, print: () => {} };
  const data = { stepsPerEpoch: batches.length, open: () => ({ next, close: () => {} }) };
  const signals = { caught: undefined };
  const trainer = { model, optimizer, settings: { alpha: ALPHA }, sync: noSync, signals, data };
  const start = cpuSeconds();
  await trainEpoch(run, trainer, { ...initialState(), epoch: 1 }, LEARNING_RATE, async () => {});
  marks.push(performance.now());
  const cpu = cpuSeconds() - start;
  const steps = loggedSteps(outputDir);
  return {
    seconds: marks.slice(1).map((mark, i) => (mark - at(marks, i)) / 1e3),
    cpu,
    loss_itm: steps.map(({ loss_itm }) => loss_itm),
    loss_ita: steps.map(({ loss_ita }) => loss_ita),
    memory: peakMemory(model.device),
  };
}
