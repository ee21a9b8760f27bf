// This program's side of `bench`: the evaluation as the main command runs it, and the small measurements.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { z } from 'zod';
import { annotationFileName } from '../../data/annotations.js';
import { preCaption } from '../../data/caption.js';
import { decodeRgb } from '../../data/images/decode.js';
import { evaluationTransform } from '../../data/images/evaluation-transform.js';
import { normalizePixels } from '../../data/images/normalization.js';
import { Tokenizer } from '../../data/tokenizer.js';
import { evaluateSplit } from '../../evaluation/evaluate.js';
import { CPU_BATCH, writeScores } from '../../evaluation/evaluate-retrieval.js';
import type { ImageSource } from '../../evaluation/image-store.js';
import type { LoopLog } from '../../logging/metric-logger.js';
import { BlipRetrieval } from '../../model/blip-retrieval.js';
import { loadPretrained } from '../../model/pretrained.js';
import { openCheckpoint, stateDictOf, TensorFile } from '../../torch/checkpoint/index.js';
import { mapFile } from '../../torch/mapped-file.js';
import { native } from '../../torch/native.js';
import * as ops from '../../torch/ops.js';
import { scope } from '../../torch/tensor.js';
import { architectureFor } from '../drawn-weights.js';
import type { CommandOf, PhaseSeconds } from '../protocol.js';
import { readImages } from '../workload.js';

const silent: LoopLog = { dataReady() {}, step() {}, end() {}, abort() {} };

export async function timed(work: () => void | Promise<void>): Promise<{ seconds: number }> {
  const start = performance.now();
  await work();
  return { seconds: (performance.now() - start) / 1e3 };
}

export async function loadModel(command: CommandOf<'load'>): Promise<BlipRetrieval> {
  const { checkpoint, device, precision } = command;
  const architecture = architectureFor(command);
  native().setTf32(precision === 'tf32');
  const { state } = await loadPretrained(checkpoint, architecture);
  return new BlipRetrieval(state, architecture, { device, precision });
}

export async function rerank(model: BlipRetrieval, command: CommandOf<'rerank'>): Promise<PhaseSeconds> {
  const { captions, k: kTest, batch, scores: path } = command;
  const images = pixelSource(command.images, model.device === 'cpu' ? Math.min(CPU_BATCH, batch) : batch);
  const tokenizer = Tokenizer.load();
  const texts = captions.map((caption) => tokenizer.encode(preCaption(caption)).ids);
  let rerankStart = Number.NaN;
  const startLoop = (header: string) => {
    if (header.startsWith('Evaluation')) rerankStart = cpuSeconds();
    return silent;
  };
  const start = cpuSeconds();
  const input = { images, texts, encToken: tokenizer.encTokenId };
  const { scores, seconds } = evaluateSplit(model, input, { kTest, startLoop });
  const end = cpuSeconds();
  if (path !== undefined) await writeScores(path, scores);
  return { ...seconds, cpu: end - start, rerank_cpu: end - rerankStart };
}

/** CPU seconds of all threads of this process so far. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Decoded images out of a file, `batch` at a time: what the loader's workers give when they are never late. */
function pixelSource(path: string, batch: number): ImageSource {
  const { count, pixels } = readImages(path);
  const one = pixels.length / count;
  return {
    count,
    open(images) {
      let next = 0;
      return {
        next() {
          const numbers = images.subarray(next, next + batch);
          next += batch;
          const data = Buffer.concat(Array.from(numbers, (n) => pixels.subarray(n * one, (n + 1) * one)));
          return numbers.length > 0 ? { count: numbers.length, data, release() {} } : null;
        },
        close() {},
      };
    },
  };
}

const Rows = z.array(z.object({ image: z.string() }));

/** Every image of the val split: decoded, resized, normalised, one after the other in this thread. */
export async function transform({ folder, image_size }: CommandOf<'transform'>): Promise<{ seconds: number }> {
  const rows = Rows.parse(JSON.parse(readFileSync(join(folder, annotationFileName('coco', 'val')), 'utf8')));
  sharp.concurrency(1);
  return await timed(async () => {
    const pixels = new Uint8Array(image_size * image_size * 3);
    for (const { image } of rows) {
      evaluationTransform(await decodeRgb(join(folder, image)), image_size, pixels);
      normalizePixels(pixels);
    }
  });
}

/** Every tensor of the checkpoint as a tensor over the mapped file, as torch.load(mmap=True) gives them. */
export function open(path: string): void {
  scope(() => {
    using file = new TensorFile(openCheckpoint(path), mapFile(path));
    for (const ref of stateDictOf(file.checkpoint).values()) file.tensor(ref);
  });
}

export function add(calls: number): void {
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
