// The model of a retriever and what it computes, in numbers of the host: features (ITC) and matches (ITM). Blocks its thread.
// Shapes: B images of P pixels a side, L image tokens of width V; n texts; E = 256.
import { preCaption } from '../data/caption.js';
import { Tokenizer } from '../data/tokenizer.js';
import { at, isMemoryShort, messageOf, UserError } from '../errors.js';
import { chooseBudgets } from '../evaluation/budgets.js';
import { architectureOf } from '../model/architecture.js';
import { BlipRetrieval } from '../model/blip-retrieval.js';
import { sizesOf } from '../model/checkpoint-entries.js';
import { otherTask } from '../model/foreign-names.js';
import { imagesFromBytes } from '../model/normalize-images.js';
import { packTexts, sortByLength, tokenChunks } from '../model/packed-texts.js';
import { type LoadReport, loadPretrained } from '../model/pretrained.js';
import { isEvaluated } from '../model/state-dict.js';
import type { KeysValues } from '../model/text-encoder.js';
import { openCheckpoint } from '../torch/checkpoint/index.js';
import { cudaState, gpuIndex, resolveDevice } from '../torch/cuda.js';
import { native } from '../torch/native.js';
import * as ops from '../torch/ops.js';
import type { Precision } from '../torch/precision.js';
import { type Device, scope, type Tensor } from '../torch/tensor.js';
import type { ModelFacts, ModelSetup } from './protocol.js';

/** Numbers of each text in a match: probability, similarity, score. */
export const MATCH_VALUES = 3;

/** LibTorch made ready for the device. @throws UserError for a GPU that is not there */
function openDevice(choice: Device | undefined, precision: Precision, threads: number | undefined): Device {
  if (choice === 'cpu') native({ cuda: false });
  const { device } = choice === 'cpu' ? { device: choice } : resolveDevice(choice, cudaState());
  if (threads !== undefined) native().setThreads(threads);
  const gpu = gpuIndex(device);
  if (gpu !== undefined) {
    native().setDevice(gpu);
    native().setTf32(precision === 'tf32');
  }
  return device;
}

/** @throws UserError where weights are random, because the file has none for them: it is of another task, or not whole */
function demandAll({ path, missing, unexpected }: LoadReport): void {
  const random = missing.filter(isEvaluated);
  if (random.length === 0) return;
  const what = otherTask(unexpected);
  const names = `${random.slice(0, 3).join(', ')}${random.length > 3 ? ' …' : ''}`;
  throw new UserError(
    `${path}${what === undefined ? '' : ` is ${what}: it`} lacks ${random.length} of the weights of retrieval (${names}). Take a checkpoint of retrieval, such as hf:Salesforce/blip-itm-base-coco.`,
  );
}

export class Engine {
  readonly facts: ModelFacts;
  readonly #model: BlipRetrieval;
  readonly #tokenizer = Tokenizer.load();
  readonly #tokenBudget: number;

  private constructor(model: BlipRetrieval, facts: ModelFacts) {
    this.#model = model;
    this.facts = facts;
    this.#tokenBudget = chooseBudgets(model).tokens;
  }

  /** @throws UserError for a file that is no checkpoint of retrieval, a device that is not there, or too little memory */
  static async open({ path, device: choice, precision, threads }: ModelSetup): Promise<Engine> {
    const device = openDevice(choice, precision, threads);
    const sizes = sizesOf(openCheckpoint(path));
    const architecture = architectureOf({ medConfig: {} }, sizes);
    const { state, report } = await loadPretrained(path, architecture, { allowPartial: true });
    demandAll(report);
    const model = new BlipRetrieval(state, architecture, { device, precision });
    const { embedDim, vision } = architecture;
    return new Engine(model, { device, vit: sizes.vit, imageSize: vision.imageSize, embedDim });
  }

  /** Pixels (B, P, P, 3) uint8 → unit features (B, E). */
  embedImages(pixels: Uint8Array, count: number): Float32Array {
    return withAdvice(() => scope(() => this.#model.encodeImages(this.#normalised(pixels, count)).features.float32()));
  }

  /** Unit features (n, E) in the order of the texts, which are cleaned as captions are. */
  embedTexts(texts: readonly string[]): Float32Array {
    const { sorted, rowOf } = sortByLength(texts.map((text) => this.#tokens(text)));
    const features = withAdvice(() => scope(() => this.#textFeatures(sorted).float32())); // (n, E), shortest first
    const { embedDim } = this.facts;
    const ordered = new Float32Array(features.length);
    for (const [text, row] of rowOf.entries())
      ordered.set(features.subarray(row * embedDim, (row + 1) * embedDim), text * embedDim);
    return ordered;
  }

  /** Pixels (B, P, P, 3) uint8, and the n texts of each image → (n, 3) for each image: see MATCH_VALUES. */
  match(pixels: Uint8Array, textsOf: readonly (readonly string[])[]): Float64Array<ArrayBuffer>[] {
    return withAdvice(() =>
      scope(() => {
        const { embeds, features } = this.#model.encodeImages(this.#normalised(pixels, textsOf.length));
        return textsOf.map((texts, image) =>
          scope(() => this.#matchImage(ops.select(embeds, 0, image), ops.select(features, 0, image), texts)),
        );
      }),
    );
  }

  /** An image's tokens (L, V) and feature (E) with its texts. */
  #matchImage(embeds: Tensor, feature: Tensor, texts: readonly string[]): Float64Array<ArrayBuffer> {
    const values = new Float64Array(texts.length * MATCH_VALUES);
    if (texts.length === 0) return values;
    const { sorted, rowOf } = sortByLength(texts.map((text) => this.#tokens(text)));
    const column = ops.reshape(feature, [-1, 1]);
    const similarities = ops.matmul(this.#textFeatures(sorted), column).float32(); // (n, 1)
    const keysValues: KeysValues[] = this.#model.imageKeysValues(embeds);
    const { encTokenId: firstToken } = this.#tokenizer;
    const logits = this.#inChunks(sorted, (rows) => {
      const packed = packTexts(rows, this.#model.device, { firstToken });
      return this.#model.matchLogits(this.#model.stem(packed), packed.packing, keysValues);
    }).float32(); // (n, 2)
    for (const [text, row] of rowOf.entries()) {
      const [no, yes, similarity] = [at(logits, 2 * row), at(logits, 2 * row + 1), at(similarities, row)];
      // Softmax over the two logits; the score is what the reference ranks by.
      values.set([1 / (1 + Math.exp(no - yes)), similarity, Math.fround(yes + similarity)], text * MATCH_VALUES);
    }
    return values;
  }

  #tokens(text: string): Int32Array {
    return this.#tokenizer.encode(preCaption(text)).ids;
  }

  #normalised(pixels: Uint8Array, count: number): Tensor {
    return imagesFromBytes(pixels, count, this.facts.imageSize, this.#model.device);
  }

  /** Rows, shortest first → unit features (n, E) in that order. */
  #textFeatures(sorted: readonly Int32Array[]): Tensor {
    return this.#inChunks(sorted, (rows) => this.#model.encodeTexts(packTexts(rows, this.#model.device)));
  }

  /** `run` on runs of the rows that fit the budget of tokens; what it gives, one below the other. */
  #inChunks(sorted: readonly Int32Array[], run: (rows: readonly Int32Array[]) => Tensor): Tensor {
    const lengths = Int32Array.from(sorted, (row) => row.length);
    const parts = Array.from(tokenChunks(lengths, this.#tokenBudget), ([first, end]) =>
      scope(() => run(sorted.slice(first, end))),
    );
    return ops.cat(parts);
  }
}

/** Adds to a lack of memory what needs less. */
function withAdvice<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!isMemoryShort(error)) throw error;
    const what = messageOf(error).replace(/\.$/, '');
    throw new UserError(`${what}. Lower \`batchSize\`, or give fewer texts at once.`, { cause: error });
  }
}
