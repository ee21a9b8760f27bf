// Image tokens between the two passes over the images: kept while a budget lasts, encoded again beyond it.
// Shapes: N images, P pixels a side, L tokens of width V, E feature width.
import type { ImageBatch } from '../data/loader/loader.js';
import { at, UserError } from '../errors.js';
import type { LoopLog } from '../logging/metric-logger.js';
import { counted } from '../logging/text.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { imagesFromBytes } from '../model/normalize-images.js';
import { range } from '../model/offsets.js';
import { DTYPES } from '../torch/dtype.js';
import * as ops from '../torch/ops.js';
import { keep, scope, type Tensor } from '../torch/tensor.js';

/** One pass over the images of a split. `next` blocks until a batch is ready; null at the end. */
export interface ImagePass {
  next(): ImageBatch | null;
  close(): void | Promise<void>;
}

/** The images of a split: how many, and a pass over those with these numbers, in that order. */
export interface ImageSource {
  count: number;
  open(images: Int32Array): ImagePass;
}

/** The batches of a pass over `images`: their numbers, and the normalised images (B, 3, P, P), valid until the next batch. */
function* imageBatches(
  model: BlipRetrieval,
  source: ImageSource,
  images: Int32Array,
): Generator<[numbers: Int32Array, normalised: Tensor]> {
  if (images.length === 0) return;
  const size = model.architecture.vision.imageSize;
  const pass = source.open(images);
  try {
    let done = 0;
    for (let batch = pass.next(); batch !== null; batch = pass.next()) {
      const { count } = batch;
      const normalised = imagesFromBytes(batch.data, count, size, model.device);
      batch.release(); // the bytes have been copied: the workers may fill the slot again
      yield [images.subarray(done, done + count), normalised];
      normalised.dispose();
      done += count;
    }
    if (done !== images.length)
      throw new UserError(
        `The image loader delivered ${done} of ${counted(images.length, 'image')}. Run check-data to find the bad ones.`,
      );
  } finally {
    void pass.close();
  }
}

/** Features of the images `first` to `end` - 1 of a split, and the tokens of the first of them. */
export class ImageStore {
  /** Unit features of these images, (end - first, E) float32 on the device. */
  readonly features: Tensor;
  readonly #kept: Tensor[]; // batches (B, L, V) of the first images
  readonly #keptCount: number;

  private constructor(
    readonly model: BlipRetrieval,
    readonly source: ImageSource,
    readonly first: number,
    features: Tensor,
    kept: Tensor[],
  ) {
    this.features = features;
    this.#kept = kept;
    this.#keptCount = kept.reduce((total, batch) => total + batch.size(0), 0);
  }

  /**
   * Encodes the images within `bounds` (all by default), keeping tokens while they fit into `budget` bytes. Queues work on
   * the device and does not wait for it.
   */
  static encode(
    model: BlipRetrieval,
    source: ImageSource,
    budget: number,
    log: LoopLog,
    bounds: readonly [first: number, end: number] = [0, source.count],
  ): ImageStore {
    const [first, end] = bounds;
    const kept: Tensor[] = [];
    const features: Tensor[] = [];
    let left = budget;
    try {
      for (const [numbers, images] of imageBatches(model, source, range(first, end))) {
        log.dataReady();
        scope(() => {
          const encoded = model.encodeImages(images);
          features.push(keep(encoded.features));
          const bytes = encoded.embeds.numel * DTYPES[encoded.embeds.dtype].bytes;
          // Kept images are the first ones without a gap: the first that does not fit is the end.
          if (bytes <= left) kept.push(keep(encoded.embeds));
          left = bytes <= left ? left - bytes : 0;
        });
        log.step(numbers.length);
      }
    } catch (error) {
      log.abort();
      for (const tensor of [...kept, ...features]) tensor.dispose();
      throw error;
    }
    log.end();
    const none = () => ops.zeros([0, model.architecture.embedDim], { device: model.device });
    const all = keep(features.length === 0 ? none() : ops.cat(features));
    for (const batch of features) batch.dispose();
    return new ImageStore(model, source, first, all, kept);
  }

  /** How many of the first images have their tokens kept; others are encoded a second time by `tokens`. */
  get keptImages(): number {
    return this.#keptCount;
  }

  /**
   * The tokens (L, V) of `images`, any of the split: first those that are kept, then the others, which are encoded now.
   * Each tensor is valid until the next one is taken.
   */
  *tokens(images: Int32Array): Generator<[image: number, embeds: Tensor]> {
    const others = new Set(images);
    let image = this.first;
    for (const batch of this.#kept)
      for (let b = 0; b < batch.size(0); b++, image++) {
        if (!others.delete(image)) continue;
        const embeds = ops.select(batch, 0, b);
        yield [image, embeds];
        embeds.dispose();
      }
    for (const [numbers, normalised] of imageBatches(this.model, this.source, Int32Array.from(others))) {
      const batch = this.model.encodeImages(normalised);
      batch.features.dispose();
      for (let b = 0; b < batch.embeds.size(0); b++) {
        const embeds = ops.select(batch.embeds, 0, b);
        yield [at(numbers, b), embeds];
        embeds.dispose();
      }
      batch.embeds.dispose();
    }
  }

  dispose(): void {
    for (const tensor of [this.features, ...this.#kept]) tensor.dispose();
  }
}
