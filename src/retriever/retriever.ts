// The library's front: a checkpoint that is open, images and texts to unit features (ITC), and whether they match (ITM).
import { checkList, checkText } from '../config/check-options.js';
import { fetchPretrained, type PretrainedFile } from '../download/pretrained-file.js';
import { at, kindOf, UserError } from '../errors.js';
import type { Encoder } from '../index/encoder.js';
import type { ImageIndex } from '../index/image-index.js';
import { demandPlatform } from '../libtorch/platform.js';
import type { VisionName } from '../model/architecture.js';
import type { Precision } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';
import { checkImage, type ImageInput, readImage } from './image-input.js';
import { type Calls, indexEncoder } from './index-encoder.js';
import { type CreateIndexOptions, checkCreateIndex, createIndex, openIndex } from './indexes.js';
import { ModelThread } from './model-thread.js';
import {
  type CallOptions,
  type Checked,
  checkCallOptions,
  checkListOptions,
  checkOpenOptions,
  type ListOptions,
  type RetrieverOptions,
} from './options.js';
import type { ImageData, Job, ModelFacts, Origin } from './protocol.js';
import { mapWindow, Permits, visitAll, withSignals } from './windowed.js';

// At import, on its main thread: what comes later would fail in the model's thread, with the linker's words or sharp's.
demandPlatform();

/** How well an image and a text fit. */
export interface Match {
  /** Of a match, by the ITM head: softmax over its two logits. From 0 to 1. */
  probability: number;
  /** Cosine of the two features (ITC). From -1 to 1. */
  similarity: number;
  /** What an evaluation ranks by and `--save_scores` writes: the ITM logit of a match plus the similarity. */
  score: number;
}

const CPU_BATCH = 8; // small batches keep activations in the caches
const CUDA_BATCH = 32;
/** Texts of one job: other calls' jobs come between those of a long list. */
const TEXTS_OF_JOB = 64;
/** Jobs of a list of texts that are under way at a time. */
const TEXT_JOBS = 8;
/** Images whose bytes are in memory, or on their way through the network, at a time. */
const IMAGES_IN_MEMORY = 64;
const FETCHES = 16;

/**
 * A retrieval model that is open. It runs in a thread of its own, so no call holds up the event loop; calls that wait are
 * joined into batches, which may change the last bits of a number. An open retriever that has nothing to do does not keep
 * the process alive; one with unfinished calls does.
 */
export class Retriever {
  /** The checkpoint's file. */
  readonly path: string;
  /** Where the checkpoint is from: the name, URL or path that it was opened by, for messages. */
  readonly source: string;
  readonly device: Device;
  readonly precision: Precision;
  readonly vit: VisionName;
  /** Side of the square that each image becomes, in pixels. */
  readonly imageSize: number;
  /** Length of a feature. */
  readonly embedDim: number;
  /** Of the weights: equal for one model in another file format, and another after training. */
  readonly fingerprint: string;
  /** Calls that may be unfinished at a time. */
  readonly maxPending: number;
  readonly #thread: ModelThread;
  readonly #options: Checked;
  readonly #batchSize: number;
  readonly #encoder: Encoder;
  readonly #copies = new Permits(IMAGES_IN_MEMORY);
  readonly #fetches = new Permits(FETCHES);
  readonly #closing = new AbortController();
  #pending = 0;

  private constructor(thread: ModelThread, facts: ModelFacts, file: PretrainedFile, options: Checked) {
    this.path = file.path;
    this.source = file.source;
    this.device = facts.device;
    this.precision = options.precision;
    this.vit = facts.vit;
    this.imageSize = facts.imageSize;
    this.embedDim = facts.embedDim;
    this.fingerprint = facts.fingerprint;
    this.maxPending = options.maxPending;
    this.#thread = thread;
    this.#options = options;
    this.#batchSize = options.batchSize ?? (facts.device === 'cpu' ? CPU_BATCH : CUDA_BATCH);
    // An indexing is long, and searches come between its batches: on a CPU small ones, which are hardly slower.
    const indexed = facts.device === 'cpu' ? Math.ceil(this.#batchSize / 4) : this.#batchSize;
    thread.setBatches(this.#batchSize, indexed);
    const calls: Calls = {
      call: (method, signal, work) => this.#call(method, signal, work),
      run: (job, options) => this.#thread.run(job, options),
      withImage: (image, name, signal, use) => this.#withImage(image, name, signal, use),
    };
    this.#encoder = indexEncoder(this, { indexed, matched: this.#batchSize }, calls);
  }

  /**
   * Opens a checkpoint: a short name that `models` lists, a file, a folder, `hf:OWNER/NAME` or a URL; what is not here is
   * downloaded once. The sizes of the model are the checkpoint's.
   * @throws UserError for an option or a source that will not do; the reason of `options.signal`
   */
  static async open(source: string, options: RetrieverOptions = {}): Promise<Retriever> {
    const checked = checkOpenOptions(options);
    if (typeof source !== 'string' || source === '') {
      const remedy = 'Give a short name, a path, a URL or hf:OWNER/NAME.';
      throw new UserError(`\`source\` is ${source === '' ? 'an empty text' : kindOf(source)}. ${remedy}`, {
        exitCode: 2,
      });
    }
    const { signal, sha256, offline, print = (line: string) => console.error(line) } = checked;
    signal?.throwIfAborted();
    const fetching = { sha256, signal, print, ...(offline !== undefined && { offline }) };
    const file = await fetchPretrained(source, fetching).catch((error: unknown) => {
      signal?.throwIfAborted();
      throw error;
    });
    const { device, precision, threads, maxPixels } = checked;
    const setup = { path: file.path, device, precision, threads, maxPixels };
    const { thread, facts } = await ModelThread.start(setup, signal);
    return new Retriever(thread, facts, file, checked);
  }

  /** Calls that are not finished. At `maxPending` another is refused. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * The unit feature (256) of an image: its dot product with another feature is their similarity.
   * @throws UserError for an image that cannot be read; the reason of `options.signal`
   */
  async embedImage(image: ImageInput, options: CallOptions = {}): Promise<Float32Array> {
    const { signal } = checkCallOptions('embedImage', options);
    checkImage('`image`', image);
    return this.#call(this.embedImage, signal, (origin, either) =>
      this.#withImage(image, 'given as bytes', either, (data, left) =>
        this.#features({ kind: 'image', image: data }, origin, either, left),
      ),
    );
  }

  /**
   * The unit features of images, in their order. The first image that cannot be read ends the call.
   * @throws as embedImage
   */
  async embedImages(images: readonly ImageInput[], options: ListOptions = {}): Promise<Float32Array[]> {
    const { signal, onProgress } = checkListOptions('embedImages', options);
    checkList('`images`', images, 'images');
    const given = [...images]; // the caller may change the list
    return this.#call(this.embedImages, signal, async (origin, either) => {
      await visitAll(given, (image, i) => checkImage(`\`images[${i}]\``, image));
      let done = 0;
      const embed = async (image: ImageInput, i: number, own: AbortSignal) => {
        const feature = await this.#withImage(image, `\`images[${i}]\``, own, (data, left) =>
          this.#features({ kind: 'image', image: data }, origin, own, left),
        );
        done += 1;
        onProgress?.(done, given.length);
        return feature;
      };
      // Two batches are under way, a third is made ready. Other calls' images come between them.
      return mapWindow(given, 3 * this.#batchSize, embed, either);
    });
  }

  /**
   * The unit features (256) of texts, in their order. Texts are cleaned as captions are, and cut at 35 tokens.
   * @throws UserError for what is no text; the reason of `options.signal`
   */
  async embedTexts(texts: readonly string[], options: ListOptions = {}): Promise<Float32Array[]> {
    const { signal, onProgress } = checkListOptions('embedTexts', options);
    checkList('`texts`', texts, 'texts');
    const given = [...texts]; // the caller may change the list
    return this.#call(this.embedTexts, signal, async (origin, either) => {
      await visitAll(given, (text, i) => checkText('texts', i, text));
      const features = new Array<Float32Array>(given.length);
      const starts = Array.from({ length: Math.ceil(given.length / TEXTS_OF_JOB) }, (_, job) => job * TEXTS_OF_JOB);
      let done = 0;
      const embed = async (start: number, _: number, own: AbortSignal) => {
        const part = given.slice(start, start + TEXTS_OF_JOB);
        const values = await this.#features({ kind: 'texts', texts: part }, origin, own);
        done += part.length;
        onProgress?.(done, given.length);
        for (let i = 0; i < part.length; i++)
          features[start + i] = values.slice(i * this.embedDim, (i + 1) * this.embedDim);
      };
      await mapWindow(starts, TEXT_JOBS, embed, either);
      return features;
    });
  }

  /**
   * How well `image` fits a text, or each of several, in their order. Every pair goes through the multimodal encoder.
   * @throws as embedImage and embedTexts
   */
  match(image: ImageInput, text: string, options?: CallOptions): Promise<Match>;
  match(image: ImageInput, texts: readonly string[], options?: CallOptions): Promise<Match[]>;
  async match(
    image: ImageInput,
    text: string | readonly string[],
    options: CallOptions = {},
  ): Promise<Match | Match[]> {
    const { signal } = checkCallOptions('match', options);
    checkImage('`image`', image);
    const isOne = typeof text === 'string';
    const texts: unknown = isOne ? [text] : text;
    checkList('`text`', texts, 'texts, or a text');
    for (const [i, each] of texts.entries()) checkText('text', i, each);
    const given = isOne ? [text] : [...text];
    return this.#call(this.match, signal, async (origin, either) => {
      const { values } = await this.#withImage(image, 'given as bytes', either, (data, left) =>
        this.#thread.run({ kind: 'match', image: data, texts: given }, { origin, signal: either, left }),
      );
      const matches = given.map((_, i) => ({
        probability: at(values, 3 * i),
        similarity: at(values, 3 * i + 1),
        score: at(values, 3 * i + 2),
      }));
      return isOne ? at(matches, 0) : matches;
    });
  }

  /**
   * Makes an index of the images in a folder, encodes them all and opens it. Where the index is there already, of the same
   * folder and model, it is brought up to date: a call that was stopped or killed can be made again.
   * @throws UserError for an option that will not do, an index of something else, or, by `onBadImage`, an image; the reason
   * of `options.signal`. What was encoded until then stays.
   */
  async createIndex(folder: string, options: CreateIndexOptions = {}): Promise<ImageIndex> {
    return createIndex(this.#encoder, checkCreateIndex(folder, options));
  }

  /**
   * Opens an index: its folder, or `postgres://…`.
   * @throws UserError where there is none, or it was made with another model; the reason of `options.signal`
   */
  async openIndex(index: string, options: CallOptions = {}): Promise<ImageIndex> {
    const { signal } = checkCallOptions('openIndex', options);
    return openIndex(this.#encoder, index, signal);
  }

  /** Rejects the calls that are unfinished, ends the thread, and frees the model. A second call does nothing more. */
  async close(): Promise<void> {
    const closed = new UserError('The retriever was closed before the call was done. Await the calls before close().');
    this.#closing.abort(closed);
    await this.#thread.close(closed);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Runs a call: counts it, refuses it where it is one too many, and stops it when its signal or `close` says so. */
  async #call<T>(
    method: (...args: never[]) => unknown,
    signal: AbortSignal | undefined,
    work: (origin: Origin, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (this.#closing.signal.aborted)
      throw new UserError('The retriever is closed. Open another with Retriever.open.', { exitCode: 2 });
    signal?.throwIfAborted();
    if (this.#pending >= this.maxPending)
      throw new UserError(
        `${this.#pending} calls of the retriever are unfinished. Await some before more are made, give lists to embedImages, or raise \`maxPending\`.`,
      );
    const origin: Origin = {};
    Error.captureStackTrace(origin, method);
    const { signal: closing } = this.#closing;
    this.#pending += 1;
    try {
      return await withSignals([signal, closing], (either) => work(origin, either.signal));
    } finally {
      this.#pending -= 1;
    }
  }

  async #features(job: Job, origin: Origin, signal: AbortSignal, left?: () => void): Promise<Float32Array> {
    const { values } = await this.#thread.run(job, { origin, signal, left });
    if (!(values instanceof Float32Array))
      throw new TypeError(`Expected features of ${job.kind} but received matches.`);
    return values;
  }

  /** Gives `use` the image, and a function to call once its bytes have left this thread's memory. */
  async #withImage<T>(
    image: ImageInput,
    name: string,
    signal: AbortSignal,
    use: (data: ImageData, left: () => void) => Promise<T>,
  ): Promise<T> {
    const isFile = typeof image === 'string' || (image instanceof URL && image.protocol === 'file:');
    const left = isFile ? () => {} : await (image instanceof URL ? this.#fetches : this.#copies).take(signal);
    try {
      return await use(await readImage(image, name, this.#options, signal), left);
    } finally {
      left();
    }
  }
}
