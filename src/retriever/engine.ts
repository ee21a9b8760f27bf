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
import { type Packing, packTexts, sortByLength, tokenChunks } from '../model/packed-texts.js';
import { type LoadReport, loadPretrained } from '../model/pretrained.js';
import { isEvaluated, patchesOf } from '../model/state-dict.js';
import type { KeysValues } from '../model/text-encoder.js';
import { openCheckpoint } from '../torch/checkpoint/index.js';
import { cudaState, gpuIndex, resolveDevice } from '../torch/cuda.js';
import { native } from '../torch/native.js';
import * as ops from '../torch/ops.js';
import type { Precision } from '../torch/precision.js';
import { type Device, scope, type Tensor } from '../torch/tensor.js';
import { fingerprintOf } from './fingerprint.js';
import type { KeptImage, ModelFacts, ModelSetup } from './protocol.js';

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

/** The multimodal encoder's part that depends on texts alone. */
interface Stem {
  stem: Tensor;
  packing: Packing;
}

/** The texts of a match: token rows, shortest first, and where each is; features in that order, undefined of no texts. */
interface PreparedTexts {
  sorted: readonly Int32Array[];
  rowOf: Int32Array;
  features: Tensor | undefined;
  /** Where all texts are one batch. */
  stem: Stem | undefined;
}

const lengthsOf = (rows: readonly Int32Array[]) => Int32Array.from(rows, (row) => row.length);

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
    const fingerprint = fingerprintOf(state);
    const model = new BlipRetrieval(state, architecture, { device, precision, consume: true });
    const { embedDim, vision } = architecture;
    return new Engine(model, { device, vit: sizes.vit, imageSize: vision.imageSize, embedDim, fingerprint });
  }

  /** Pixels (B, P, P, 3) uint8 → unit features (B, E) and, where wanted, each image's tokens (L, V) as bytes of bfloat16. */
  encodeImages(pixels: Uint8Array, count: number, keepTokens: boolean) {
    return withAdvice(() =>
      scope(() => {
        const { embeds, features } = this.#model.encodeImages(this.#normalised(pixels, count));
        const half = keepTokens ? ops.to(embeds, { dtype: 'bfloat16' }) : undefined;
        // A copy each, so that one image does not hold the others in memory.
        const tokens = half && Array.from({ length: count }, (_, i) => new Uint8Array(ops.select(half, 0, i).bytes()));
        return { features: features.float32(), tokens };
      }),
    );
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

  /** Images, decoded or kept by an index, and the n texts of each → (n, 3) for each image: see MATCH_VALUES. */
  match(
    images: readonly (KeptImage | { pixels: Uint8Array })[],
    textsOf: readonly (readonly string[])[],
  ): Float64Array<ArrayBuffer>[] {
    return withAdvice(() =>
      scope(() => {
        const decoded = images.flatMap((image) => ('pixels' in image ? [image.pixels] : []));
        const count = decoded.length;
        const encoded =
          count === 0 ? undefined : this.#model.encodeImages(this.#normalised(Buffer.concat(decoded), count));
        const shared = new Map<string, PreparedTexts>();
        let next = 0;
        return images.map((image, i) => {
          const texts = at(textsOf, i);
          const key = JSON.stringify(texts);
          const prepared = shared.get(key) ?? this.#prepare(texts);
          shared.set(key, prepared);
          if ('tokens' in image) return scope(() => this.#matchImage(...this.#kept(image), prepared));
          if (encoded === undefined) throw new TypeError('Expected encoded images but received none.');
          const number = next++;
          return scope(() =>
            this.#matchImage(ops.select(encoded.embeds, 0, number), ops.select(encoded.features, 0, number), prepared),
          );
        });
      }),
    );
  }

  /** What of a match depends on the texts alone; one batch of texts is made ready for all images that meet it. */
  #prepare(texts: readonly string[]): PreparedTexts {
    const { sorted, rowOf } = sortByLength(texts.map((text) => this.#tokens(text)));
    const chunks = [...tokenChunks(lengthsOf(sorted), this.#tokenBudget)];
    const features = texts.length === 0 ? undefined : this.#textFeatures(sorted);
    return { sorted, rowOf, features, stem: chunks.length === 1 ? this.#stem(sorted) : undefined };
  }

  #stem(rows: readonly Int32Array[]): Stem {
    const { encTokenId: firstToken } = this.#tokenizer;
    const packed = packTexts(rows, this.#model.device, { firstToken });
    return { stem: this.#model.stem(packed), packing: packed.packing };
  }

  /** Tokens (L, V) and feature (E) of a kept image, as the model computes them. */
  #kept({ tokens, feature }: KeptImage): [embeds: Tensor, feature: Tensor] {
    const { device, precision, architecture } = this.#model;
    const { width } = architecture.vision;
    const wanted = patchesOf(architecture.vision) + 1; // L
    if (tokens.length !== wanted * width * 2)
      throw new UserError('The index has image tokens of another model. Make it again.');
    const dtype = precision === 'bf16' ? 'bfloat16' : 'float32';
    return [
      ops.to(ops.fromBytes(tokens, 'bfloat16', [wanted, width]), { device, dtype }),
      ops.to(ops.float32(feature), { device }),
    ];
  }

  /** An image's tokens (L, V) and feature (E) with its texts. */
  #matchImage(embeds: Tensor, feature: Tensor, prepared: PreparedTexts): Float64Array<ArrayBuffer> {
    const { sorted, rowOf, features, stem: ready } = prepared;
    const values = new Float64Array(rowOf.length * MATCH_VALUES);
    if (features === undefined) return values;
    const column = ops.reshape(feature, [-1, 1]);
    const similarities = ops.matmul(features, column).float32(); // (n, 1)
    const keysValues: KeysValues[] = this.#model.imageKeysValues(embeds);
    const logits = this.#inChunks(sorted, (rows) => {
      const { stem, packing } = ready ?? this.#stem(rows);
      return this.#model.matchLogits(stem, packing, keysValues);
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
    const parts = Array.from(tokenChunks(lengthsOf(sorted), this.#tokenBudget), ([first, end]) =>
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
