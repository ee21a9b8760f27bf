// This program's side of `bench train`: steps of the training loop itself, on decoded images that are never late.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { preCaption } from '../../data/caption.js';
import { Tokenizer } from '../../data/tokenizer.js';
import { noSync } from '../../distributed/data-parallel.js';
import { oneRank } from '../../distributed/ranks.js';
import { at } from '../../errors.js';
import { normalizeImages } from '../../model/normalize-images.js';
import { loadTrainingState } from '../../model/pretrained.js';
import { TrainingModel } from '../../model/training-model.js';
import { AdamW } from '../../torch/adamw.js';
import { openTensorFile } from '../../torch/checkpoint/index.js';
import { manualSeed } from '../../torch/generator.js';
import { native } from '../../torch/native.js';
import * as ops from '../../torch/ops.js';
import { scope } from '../../torch/tensor.js';
import { initialState } from '../../training/run-state.js';
import { trainEpoch } from '../../training/train.js';
import type { LoadedBatch } from '../../training/training-data.js';
import { architectureFor } from '../drawn-weights.js';
import { scratchFolder } from '../harness.js';
import type { CommandOf } from '../protocol.js';
import { readImages } from '../workload.js';
import { cpuSeconds } from './work.js';

// configs/retrieval_coco.yaml
const ALPHA = 0.4;
const LEARNING_RATE = 1e-5;
const WEIGHT_DECAY = 0.05;

const Losses = z.object({ loss_itm: z.number(), loss_ita: z.number() });

export interface OwnTraining {
  model: TrainingModel;
  optimizer: AdamW;
  tokenizer: Tokenizer;
}

export async function loadTraining(command: CommandOf<'load_training'>): Promise<OwnTraining> {
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
  return { model, optimizer, tokenizer };
}

/** Runs one epoch of `trainEpoch` over the images, the last partial batch dropped. */
export async function trainSteps({ model, optimizer, tokenizer }: OwnTraining, command: CommandOf<'train'>) {
  const { captions, batch } = command;
  const { count, pixels, size } = readImages(command.images);
  const texts = captions.map((caption) => tokenizer.encode(preCaption(caption)).ids);
  const batches = Array.from({ length: Math.floor(count / batch) }, (_, step): LoadedBatch => {
    const [first, end] = [step * batch, (step + 1) * batch];
    const bytes = pixels.subarray(first * size * size * 3, end * size * size * 3);
    const images = scope(() => normalizeImages(ops.fromBytes(bytes, 'uint8', [batch, size, size, 3]), model.device));
    const rows = Array.from({ length: batch }, (_, i) => first + i);
    return { images, rows, idx: rows, texts: texts.slice(first, end), unread: [] };
  });
  const marks: number[] = [];
  const next = () => {
    marks.push(performance.now());
    return batches[marks.length - 1] ?? null;
  };

  const outputDir = scratchFolder();
  const start = cpuSeconds();
  const training = { accumulate: 1, logEvery: 1, saveEvery: undefined, maxSteps: undefined };
  await trainEpoch(
    { ranks: oneRank, options: { outputDir, training }, logger: { quiet: true }, print: () => {} },
    {
      model,
      optimizer,
      settings: { alpha: ALPHA },
      sync: noSync,
      signals: { caught: undefined },
      data: { stepsPerEpoch: batches.length, open: () => ({ next, close: () => {} }) },
    },
    { ...initialState(), epoch: 1 },
    LEARNING_RATE,
    async () => {},
  );
  marks.push(performance.now());
  const cpu = cpuSeconds() - start;
  const lines = readFileSync(join(outputDir, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  const losses = lines.map((line) => Losses.parse(JSON.parse(line)));
  return {
    seconds: marks.slice(1).map((mark, i) => (mark - at(marks, i)) / 1e3),
    cpu,
    loss_itm: losses.map(({ loss_itm }) => loss_itm),
    loss_ita: losses.map(({ loss_ita }) => loss_ita),
  };
}
