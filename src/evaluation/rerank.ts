// Re-ranking, image by image: an image's keys and values once, all texts that meet it as one packed batch, each pair once.
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import type { KeysValues } from '../model/text-encoder.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { Candidates, ImagePairs } from './candidates.js';
import type { ImageStore, LoopLog } from './image-store.js';
import { type ScoreRows, scoreRows } from './scores.js';
import type { TextStore } from './text-store.js';
import { tokenChunks } from './unique-texts.js';

/** Scores of both directions: ITM logit plus similarity for candidates, -100 elsewhere. */
export interface SplitScores {
  imageToText: ScoreRows; // N rows of M
  textToImage: ScoreRows; // M rows of N
  /** Pairs that went through the multimodal encoder, and pairs that the reference would have computed. */
  pairs: { computed: number; reference: number };
}

/** ITM logits of one image's texts, still on the device. */
interface Pending {
  image: number;
  texts: Int32Array;
  logits: Tensor[]; // (n, 2) each, in the order of `texts`
}

/** One image against its texts, in chunks of `tokenBudget` tokens. Nothing here waits for the device. */
function matchImage(
  model: BlipRetrieval,
  store: TextStore,
  embeds: Tensor,
  list: Int32Array,
  tokenBudget: number,
): Tensor[] {
  return scope(() => {
    const image: KeysValues[] = model.imageKeysValues(embeds);
    const starts = new Int32Array(list.length + 1);
    list.forEach((text, i) => {
      starts[i + 1] = (starts[i] ?? 0) + (store.texts.lengths[text] ?? 0);
    });
    return Array.from(tokenChunks(starts, tokenBudget), ([from, to]) =>
      scope(() => {
        const { stem, packing } = store.batch(list.subarray(from, to));
        return model.matchLogits(stem, packing, image);
      }),
    );
  });
}

/** Puts one image's logits into the slots of both directions. Waits for the device. */
function settle(
  { image, texts, logits }: Pending,
  candidates: Candidates,
  pairs: ImagePairs,
  logitOf: Float32Array,
  out: { i2t: Float32Array; t2i: Float32Array },
): void {
  let at = 0;
  for (const chunk of logits) {
    const values = chunk.float32();
    for (let i = 1; i < values.length; i += 2) logitOf[texts[at++] ?? 0] = values[i] ?? 0;
    chunk.dispose();
  }
  const { imageToText, textToImage, rowOf } = candidates;
  for (let slot = image * imageToText.k; slot < (image + 1) * imageToText.k; slot++)
    out.i2t[slot] = (logitOf[rowOf[imageToText.index[slot] ?? 0] ?? 0] ?? 0) + (imageToText.similarity[slot] ?? 0);
  for (const slot of pairs.slotsOf(image))
    out.t2i[slot] = (logitOf[Math.floor(slot / textToImage.k)] ?? 0) + (textToImage.similarity[slot] ?? 0);
}

/** What one rank re-ranks, and how. */
export interface RerankInput {
  candidates: Candidates;
  pairs: ImagePairs;
  /** The images that are this rank's to match. */
  images: Int32Array;
  /** Text tokens that go through the encoder at once: memory depends on it, the scores do not. */
  tokenBudget: number;
  log: LoopLog;
  /** Adds up what the ranks scored, where there are several: each image's slots are zero on all ranks but one. */
  sum?: ((values: Float32Array) => Float32Array) | undefined;
}

/** Scores the candidates of both directions. Waits for the device once an image, one image late. */
export function rerank(model: BlipRetrieval, images: ImageStore, texts: TextStore, work: RerankInput): SplitScores {
  const { candidates, pairs, tokenBudget, log, sum = (values) => values } = work;
  const { imageToText, textToImage, rowOf } = candidates;
  const out = { i2t: new Float32Array(imageToText.index.length), t2i: new Float32Array(textToImage.index.length) };
  const logitOf = new Float32Array(texts.texts.count); // of the image at hand, by distinct text
  let pending: Pending | undefined;
  const flush = () => {
    if (pending !== undefined) settle(pending, candidates, pairs, logitOf, out);
    pending = undefined;
  };
  try {
    for (const [image, embeds] of images.tokens(work.images)) {
      log.dataReady();
      const list = pairs.textsOf(image);
      const logits = matchImage(model, texts, embeds, list, tokenBudget);
      flush(); // the image before: the device works on this one meanwhile
      pending = { image, texts: list, logits };
      log.step();
    }
    flush();
  } catch (error) {
    for (const tensor of pending?.logits ?? []) tensor.dispose();
    log.abort();
    throw error;
  }
  log.end();
  return {
    imageToText: scoreRows(imageToText, sum(out.i2t), rowOf.length),
    textToImage: scoreRows(textToImage, sum(out.t2i), candidates.images, rowOf),
    pairs: { computed: pairs.total, reference: candidates.images * imageToText.k + rowOf.length * textToImage.k },
  };
}
