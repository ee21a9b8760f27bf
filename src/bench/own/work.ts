// This program's side of `bench`: the evaluation as the main command runs it, and the small measurements.
import sharp from 'sharp';
import { loadRetrievalSplit } from '../../data/annotations.js';
import { preCaption } from '../../data/caption.js';
import { decodeRgb } from '../../data/images/decode.js';
import { evaluationTransform } from '../../data/images/evaluation-transform.js';
import { normalizePixels } from '../../data/images/normalization.js';
import { TrainingSampler } from '../../data/loader/sampler.js';
import { trainingEpoch } from '../../data/loader/training-loader.js';
import { Tokenizer } from '../../data/tokenizer.js';
import { loadTrainingSet } from '../../data/training-set.js';
import { at, UserError } from '../../errors.js';
import { chooseBudgets } from '../../evaluation/budgets.js';
import { evaluateSplit, SILENT } from '../../evaluation/evaluate.js';
import { CPU_BATCH, writeScores } from '../../evaluation/evaluate-retrieval.js';
import type { ImageSource } from '../../evaluation/image-store.js';
import { tryEvaluation } from '../../evaluation/trial.js';
import { BlipRetrieval } from '../../model/blip-retrieval.js';
import { imagesFromBytes } from '../../model/normalize-images.js';
import { loadPretrained } from '../../model/pretrained.js';
import { isEvaluated } from '../../model/state-dict.js';
import { openCheckpoint, stateDictOf, TensorFile } from '../../torch/checkpoint/index.js';
import { mapFile } from '../../torch/mapped-file.js';
import { native } from '../../torch/native.js';
import * as ops from '../../torch/ops.js';
import { type Device, scope } from '../../torch/tensor.js';
import { architectureFor, drawnState } from '../drawn-weights.js';
import type { Commands, Memory } from '../protocol.js';
import { readImages } from '../workload.js';
import { ranks } from './place.js';

export async function timed(work: () => void | Promise<void>): Promise<{ seconds: number }> {
  const start = performance.now();
  await work();
  return { seconds: (performance.now() - start) / 1e3 };
}

export const tokenizer = Tokenizer.load();

export const tokensOf = (captions: readonly string[]) =>
  captions.map((caption) => tokenizer.encode(preCaption(caption)).ids);

let model: BlipRetrieval | undefined;

/** The model that `load` made. @throws UserError before */
export function loadedModel(before: string): BlipRetrieval {
  if (model === undefined) throw new UserError(`No model is loaded. Load a model before ${before}.`);
  return model;
}

export async function load(command: Commands['load']): Promise<void> {
  const { checkpoint, device, precision } = command;
  const architecture = architectureFor(command);
  native().setTf32(precision === 'tf32');
  const state =
    checkpoint === undefined
      ? drawnState(architecture, isEvaluated)
      : (await loadPretrained(checkpoint, architecture)).state;
  model = new BlipRetrieval(state, architecture, { device, precision, consume: true });
}

export async function rerank(command: Commands['rerank']) {
  const model = loadedModel('re-ranking');
  const { captions, k: kTest, batch, scores: path } = command;
  const images = pixelSource(command.images, model.device === 'cpu' ? Math.min(CPU_BATCH, batch) : batch);
  const input = { images, texts: tokensOf(captions), encToken: tokenizer.encTokenId };
  let rerankStart = Number.NaN;
  const startLoop = (header: string) => {
    if (header.startsWith('Evaluation')) rerankStart = cpuSeconds();
    return SILENT;
  };
  const start = cpuSeconds();
  const { scores, seconds } = evaluateSplit(model, input, { kTest, startLoop, ranks: ranks() });
  const end = cpuSeconds();
  if (path !== undefined && ranks().rank === 0) await writeScores(path, scores);
  const phases = { ...seconds, cpu: end - start, rerank_cpu: end - rerankStart };
  return { seconds: phases, memory: peakMemory(model.device) };
}

/** @throws UserError before a model is loaded */
export function trial({ images: path, captions, k: kTest, batch, seconds }: Commands['trial']) {
  const model = loadedModel('measuring');
  const batchSize = Math.min(CPU_BATCH, batch);
  const input = { images: pixelSource(path, batchSize), texts: tokensOf(captions), encToken: tokenizer.encTokenId };
  const { counts, costs, sample } = tryEvaluation(model, input, { kTest, batchSize, seconds });
  return { counts, costs, sample, image_budget: chooseBudgets(model).images };
}

/** CPU seconds of all threads of this process so far. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

export function peakMemory(device: Device): Memory {
  const peak = { peak_bytes: process.resourceUsage().maxRSS * 1024 };
  return device === 'cpu' ? peak : { ...peak, device_peak_bytes: native().deviceMemory(0).peakAllocated };
}

/** Decoded images out of a file, `batch` at a time: what the loader's workers give when they are never late. */
function pixelSource(path: string, batch: number): ImageSource {
  const images = readImages(path);
  return {
    count: images.length,
    open(numbers) {
      let done = 0;
      const next = () => {
        const pixels = Array.from(numbers.subarray(done, done + batch), (image) => at(images, image));
        done += batch;
        return pixels.length > 0 ? { count: pixels.length, data: Buffer.concat(pixels), release() {} } : null;
      };
      return { next, close() {} };
    },
  };
}

/** Every image of the val split: decoded, resized, normalised, one after the other in this thread. */
export async function transform({ folder, image_size }: Commands['transform']): Promise<{ seconds: number }> {
  const { images } = await loadRetrievalSplit({ annRoot: folder, imageRoot: folder, dataset: 'coco', split: 'val' });
  sharp.concurrency(1);
  return await timed(async () => {
    const pixels = new Uint8Array(image_size * image_size * 3);
    for (const image of images) {
      evaluationTransform(await decodeRgb(image), image_size, pixels);
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

/** One epoch of training images, normalised on the CPU as the reference does. */
export async function loadEpoch(work: Commands['epoch']) {
  const { folder, image_size: size, batch: batchSize, workers } = work;
  const set = await loadTrainingSet({ annRoot: folder, imageRoot: folder, dataset: 'coco' });
  const sampler = new TrainingSampler({ length: set.images.length, worldSize: 1, rank: 0, batchSize });
  const [start, cpu] = [performance.now(), cpuSeconds()];
  const { loader, rows } = trainingEpoch({ set, sampler, epoch: 0, seed: 42, size, workers });
  for (let batch = loader.next(); batch !== null; batch = loader.next()) {
    imagesFromBytes(batch.data, batch.count, size, 'cpu').dispose();
    batch.release();
  }
  loader.close();
  return { seconds: (performance.now() - start) / 1e3, cpu_seconds: cpuSeconds() - cpu, images: rows.length };
}
