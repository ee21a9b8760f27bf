// This program's side of `bench train`: steps of the training loop itself, on decoded images that are never late.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { preCaption } from '../data/caption.js';
import { Tokenizer } from '../data/tokenizer.js';
import { noSync } from '../distributed/data-parallel.js';
import { oneRank } from '../distributed/ranks.js';
import { architectureOf } from '../model/architecture.js';
import { normalizeImages } from '../model/normalize-images.js';
import { loadTrainingState } from '../model/pretrained.js';
import { TrainingModel } from '../model/training-model.js';
import { AdamW } from '../torch/adamw.js';
import { openTensorFile } from '../torch/checkpoint/index.js';
import { manualSeed } from '../torch/generator.js';
import { native } from '../torch/native.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import { initialState } from '../training/run-state.js';
import { trainEpoch } from '../training/train.js';
import { configOf } from './drawn-weights.js';
import { readImages } from './matrices.js';
import type { Trained, TrainingSetting, TrainWork } from './protocol.js';

// configs/retrieval_coco.yaml
const ALPHA = 0.4;
const LEARNING_RATE = 1e-5;
const WEIGHT_DECAY = 0.05;

const Losses = z.object({ loss_itm: z.number(), loss_ita: z.number() });

export class OwnTraining {
  readonly #model: TrainingModel;
  readonly #optimizer: AdamW;
  readonly #tokenizer: Tokenizer;

  private constructor(model: TrainingModel, tokenizer: Tokenizer) {
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#optimizer = new AdamW([...model.parameters.values()], { weightDecay: WEIGHT_DECAY });
  }

  /** The device as LibTorch names it. */
  get device(): string {
    return this.#model.device;
  }

  static async load(setting: TrainingSetting): Promise<OwnTraining> {
    const { checkpoint, device, precision, vit_ckpt_layer } = setting;
    const architecture = architectureOf(configOf(setting));
    native().setTf32(precision === 'tf32');
    const tokenizer = Tokenizer.load();
    using file = await openTensorFile(checkpoint);
    const { state } = loadTrainingState(file, architecture);
    const model = new TrainingModel(state, architecture, {
      device,
      precision,
      negativeAllRank: true,
      checkpointedBlocks: vit_ckpt_layer,
      encToken: tokenizer.encTokenId,
    });
    for (const tensor of state.values()) tensor.dispose();
    manualSeed(42);
    return new OwnTraining(model, tokenizer);
  }

  /** Runs one epoch of `trainEpoch` over the images, the last partial batch dropped. */
  async train({ images: path, captions, batch }: TrainWork): Promise<Trained> {
    const { count, pixels, size } = readImages(path);
    const steps = Math.floor(count / batch);
    const texts = captions.map((caption) => Int32Array.from(this.#tokenizer.encode(preCaption(caption)).ids));
    const one = size * size * 3;
    const batches = Array.from({ length: steps }, (_, step): Tensor => {
      const bytes = pixels.subarray(step * batch * one, (step + 1) * batch * one);
      return scope(() => normalizeImages(ops.fromBytes(bytes, 'uint8', [batch, size, size, 3]), this.#model.device));
    });
    const folder = mkdtempSync(join(tmpdir(), 'blip-bench-train-'));
    const marks: number[] = [];
    let asked = 0;
    const before = process.cpuUsage();
    await trainEpoch(
      {
        ranks: oneRank,
        options: {
          outputDir: folder,
          training: { accumulate: 1, logEvery: 1, saveEvery: undefined, maxSteps: undefined },
        },
        logger: { quiet: true },
        print: () => {},
      },
      {
        model: this.#model,
        optimizer: this.#optimizer,
        settings: { alpha: ALPHA },
        sync: noSync,
        signals: { caught: undefined },
        data: {
          stepsPerEpoch: steps,
          open: () => ({
            next: () => {
              marks.push(performance.now());
              const step = asked++;
              const images = batches[step];
              if (images === undefined) return null;
              const rows = Array.from({ length: batch }, (_, i) => step * batch + i);
              return { images, rows, idx: rows, texts: rows.map((row) => texts[row] ?? new Int32Array()), unread: [] };
            },
            close: () => {},
          }),
        },
      },
      { ...initialState(), epoch: 1 },
      LEARNING_RATE,
      async () => {},
    );
    marks.push(performance.now());
    const { user, system } = process.cpuUsage(before);
    const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    rmSync(folder, { recursive: true });
    const losses = lines.map((line) => Losses.parse(JSON.parse(line)));
    return {
      seconds: marks.slice(1).map((mark, i) => (mark - (marks[i] ?? mark)) / 1e3),
      cpu: (user + system) / 1e6,
      loss_itm: losses.map(({ loss_itm }) => loss_itm),
      loss_ita: losses.map(({ loss_ita }) => loss_ita),
    };
  }
}
