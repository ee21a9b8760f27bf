// What this program does when `bench` asks: the evaluation as the main command runs it, and the small measurements.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { z } from 'zod';
import { annotationFileName } from '../data/annotations.js';
import { preCaption } from '../data/caption.js';
import { decodeRgb } from '../data/images/decode.js';
import { evaluationTransform } from '../data/images/evaluation-transform.js';
import { normalizePixels } from '../data/images/normalization.js';
import type { ImageBatch } from '../data/loader/loader.js';
import { Tokenizer } from '../data/tokenizer.js';
import { UserError } from '../errors.js';
import { evaluateSplit } from '../evaluation/evaluate.js';
import { CPU_BATCH } from '../evaluation/evaluate-retrieval.js';
import type { ImageSource } from '../evaluation/image-store.js';
import { denseScores } from '../evaluation/scores.js';
import type { LoopLog } from '../logging/metric-logger.js';
import { architectureOf } from '../model/architecture.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { loadPretrained } from '../model/pretrained.js';
import { byteOffset, openCheckpoint, stateDictOf } from '../torch/checkpoint/index.js';
import { mapFile } from '../torch/mapped-file.js';
import { native } from '../torch/native.js';
import * as ops from '../torch/ops.js';
import { scope } from '../torch/tensor.js';
import { configOf, writeDrawnCheckpoint } from './drawn-weights.js';
import { readImages, writeScores } from './matrices.js';
import { OwnTraining } from './own-train.js';
import type { Command, Hello, Memory, ModelSetting, PhaseSeconds, RerankWork, TransformWork } from './protocol.js';

const silent: LoopLog = { dataReady() {}, step() {}, end() {}, abort() {} };

export class OwnWork {
  #model: BlipRetrieval | undefined;
  #tokenizer: Tokenizer | undefined;
  #training: OwnTraining | undefined;

  /** @param cuda open LibTorch's CUDA libraries too */
  constructor(cuda: boolean) {
    native({ cuda });
  }

  hello(): Hello {
    return { versions: { LibTorch: native().version().built }, threads: native().getThreads() };
  }

  /** Does one command. @throws UserError when it cannot */
  async do(command: Command): Promise<object> {
    switch (command.op) {
      case 'load':
        return await timed(() => this.#load(command));
      case 'rerank':
        return { seconds: await this.#rerank(command) };
      case 'load_training':
        return await timed(async () => {
          this.#training = await OwnTraining.load(command);
        });
      case 'train':
        if (this.#training === undefined) throw new UserError('Load a model for training before training.');
        return await this.#training.train(command);
      case 'open':
        return await timed(() => open(command.checkpoint));
      case 'overhead':
        return await timed(() => add(command.calls));
      case 'transform':
        return await transform(command);
      case 'memory':
        return this.#memory();
      case 'draw':
        return await timed(() => writeDrawnCheckpoint(command.checkpoint, configOf(command)));
    }
  }

  async #load({ checkpoint, vit, image_size, queue_size, device, precision }: ModelSetting): Promise<void> {
    const architecture = architectureOf(configOf({ vit, image_size, queue_size }));
    native().setTf32(precision === 'tf32');
    const { state } = await loadPretrained(checkpoint, architecture);
    this.#model = new BlipRetrieval(state, architecture, { device, precision });
    this.#tokenizer = Tokenizer.load();
  }

  async #rerank({ images, captions, k, batch, scores }: RerankWork): Promise<PhaseSeconds> {
    const [model, tokenizer] = [this.#model, this.#tokenizer];
    if (model === undefined || tokenizer === undefined) throw new UserError('Load a model before re-ranking.');
    const source = pixelSource(images, model.device === 'cpu' ? Math.min(CPU_BATCH, batch) : batch);
    const texts = captions.map((caption) => tokenizer.encode(preCaption(caption)).ids);
    const cpu = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    };
    let rerankBegins = Number.NaN;
    const startLoop = (header: string) => {
      if (header.startsWith('Evaluation')) rerankBegins = cpu();
      return silent;
    };
    const begin = cpu();
    const options = { kTest: k, startLoop, print: () => {} };
    const result = evaluateSplit(model, { images: source, texts, encToken: tokenizer.encTokenId }, options);
    const end = cpu();
    if (scores !== undefined) {
      const matrices = { i2t: denseScores(result.scores.imageToText), t2i: denseScores(result.scores.textToImage) };
      await writeScores(scores, matrices, source.count, texts.length);
    }
    return { ...result.seconds, cpu: end - begin, rerank_cpu: end - rerankBegins };
  }

  #memory(): Memory {
    const peak = { peak_bytes: process.resourceUsage().maxRSS * 1024 };
    return (this.#model ?? this.#training)?.device.startsWith('cuda')
      ? { ...peak, device_peak_bytes: native().deviceMemory(0).peakAllocated }
      : peak;
  }
}

async function timed(work: () => void | Promise<void>): Promise<{ seconds: number }> {
  const start = performance.now();
  await work();
  return { seconds: (performance.now() - start) / 1e3 };
}

/** Decoded images out of a file, `batch` at a time: what the loader's workers give when they are never late. */
function pixelSource(path: string, batch: number): ImageSource {
  const { count, pixels } = readImages(path);
  const one = pixels.length / count;
  return {
    count,
    open(images) {
      let at = 0;
      return {
        next(): ImageBatch | null {
          if (at >= images.length) return null;
          const first = images[at] ?? 0;
          let taken = 1; // images that lie one after the other are given as they lie
          while (taken < batch && images[at + taken] === first + taken) taken++;
          at += taken;
          return { count: taken, data: pixels.subarray(first * one, (first + taken) * one), release() {} };
        },
        close() {},
      };
    },
  };
}

const Rows = z.array(z.object({ image: z.string() }));

/** Every image of the val split: decoded, resized, normalised, one after the other in this thread. */
async function transform({ image_root, ann_root, image_size }: TransformWork): Promise<{ seconds: number }> {
  const rows = Rows.parse(JSON.parse(readFileSync(join(ann_root, annotationFileName('coco', 'val')), 'utf8')));
  sharp.concurrency(1);
  return await timed(async () => {
    const pixels = new Uint8Array(image_size * image_size * 3);
    for (const { image } of rows) {
      evaluationTransform(await decodeRgb(join(image_root, image)), image_size, pixels);
      normalizePixels(pixels);
    }
  });
}

/** Every tensor of the checkpoint as a tensor over the mapped file, as torch.load(mmap=True) gives them. */
function open(path: string): void {
  scope(() => {
    const refs = stateDictOf(openCheckpoint(path));
    const file = mapFile(path);
    for (const ref of refs.values()) {
      file.tensor(byteOffset(ref), ref.dtype, ref.shape, ref.stride);
    }
    file.close();
  });
}

function add(calls: number): void {
  scope(() => {
    const [a, b] = [ops.full([4], 1), ops.full([4], 1)];
    // Tensors are freed at the end of their scope: a scope of this length is what a forward pass has.
    for (let done = 0; done < calls; done += 100) {
      scope(() => {
        for (let i = 0; i < 100; i++) ops.add(a, b);
      });
    }
  });
}
