// Re-ranking, image by image: an image's keys and values once, all texts that meet it as one packed batch, each pair once.
import { oneRank, type Ranks } from '../distributed/ranks.js';
import { at } from '../errors.js';
import type { LoopLog } from '../logging/metric-logger.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { tokenChunks } from '../model/packed-texts.js';
import type { KeysValues } from '../model/text-encoder.js';
import { scope, type Tensor } from '../torch/tensor.js';
import { Reading } from '../torch/transfer.js';
import type { Candidates, ImagePairs } from './candidates.js';
import type { ImageStore } from './image-store.js';
import { type ScoreRows, scoreRows } from './scores.js';
import type { DirectionRanks } from './similarity-ranks.js';
import type { TextStore } from './text-store.js';

/** Scores of both directions: ITM logit plus similarity for candidates, -100 elsewhere. */
export interface SplitScores {
  imageToText: ScoreRows; // N rows of M
  textToImage: ScoreRows; // M rows of N
  /** What was re-ranked, and the score of each slot of its lists. */
  candidates: Candidates;
  slots: { imageToText: Float32Array; textToImage: Float32Array };
  /** Where similarity alone puts the right answers; absent where nobody said which they are. */
  similarityRanks?: DirectionRanks | undefined;
  /** Pairs that went through the multimodal encoder, and pairs that the reference would have computed. */
  pairs: { computed: number; reference: number };
}

/** ITM logits of one image's texts, on their way from the device. */
interface PendingLogits {
  image: number;
  texts: Int32Array;
  logits: Reading; // (n, 2) float32 each, in the order of `texts`
}

/** One image against `texts`, in chunks of `tokenBudget` tokens: an upload each, and nothing waits for the device. */
export function matchImage(
  model: BlipRetrieval,
  store: TextStore,
  embeds: Tensor,
  texts: Int32Array,
  tokenBudget: number,
): Reading {
  return scope(() => {
    const image: KeysValues[] = model.imageKeysValues(embeds);
    const lengths = texts.map((text) => at(store.unique.lengths, text));
    const logits = Array.from(tokenChunks(lengths, tokenBudget), ([first, end]) =>
      scope(() => {
        const { stem, packing } = store.batch(texts.subarray(first, end));
        return model.matchLogits(stem, packing, image);
      }),
    );
    return new Reading(logits);
  });
}

/** Scores under construction: one of each candidate's slot, in both directions. */
class SlotScores {
  readonly imageToText: Float32Array;
  readonly textToImage: Float32Array;
  readonly #logitOf: Float32Array; // of the image being scattered, by distinct text

  constructor(
    readonly candidates: Candidates,
    readonly pairs: ImagePairs,
    distinctTexts: number,
  ) {
    this.imageToText = new Float32Array(candidates.imageToText.index.length);
    this.textToImage = new Float32Array(candidates.textToImage.index.length);
    this.#logitOf = new Float32Array(distinctTexts);
  }

  /** Puts one image's logits into its slots: score = logit of a match + similarity. Waits for the device. */
  scatterLogits({ image, texts, logits }: PendingLogits): void {
    const values = logits.finishFloat32().flatMap((chunk) => [...chunk]);
    for (const [i, text] of texts.entries()) this.#logitOf[text] = at(values, 2 * i + 1);

    const { imageToText, textToImage } = this.candidates;
    for (const [j, text] of this.pairs.ownTexts(image).entries()) {
      const slot = image * imageToText.k + j;
      this.imageToText[slot] = at(this.#logitOf, text) + at(imageToText.similarity, slot);
    }
    for (const slot of this.pairs.slotsOf(image)) {
      const text = Math.floor(slot / textToImage.k);
      this.textToImage[slot] = at(this.#logitOf, text) + at(textToImage.similarity, slot);
    }
  }
}

/** What one rank re-ranks, and how. */
export interface RerankInput {
  candidates: Candidates;
  pairs: ImagePairs;
  /** Numbers of the images that this rank matches. */
  ownImages: Int32Array;
  /** Text tokens that go through the encoder at once: memory depends on it, the scores do not. */
  tokenBudget: number;
  log: LoopLog;
  /** The work of each image, in any unit, for the log's estimate of the time left. */
  workOf?(image: number): number;
  /** Each image's slots are zero on all ranks but one: their sum is what all scored. */
  ranks?: Pick<Ranks, 'sum'>;
}

/** Scores the candidates of both directions. Waits for the device once an image, one image late. */
export function rerank(
  model: BlipRetrieval,
  imageStore: ImageStore,
  textStore: TextStore,
  input: RerankInput,
): SplitScores {
  const { candidates, pairs, tokenBudget, log, ranks = oneRank } = input;
  const { imageToText, textToImage, rowOf } = candidates;
  const scores = new SlotScores(candidates, pairs, textStore.unique.rows.length);
  let pending: PendingLogits | undefined;
  try {
    for (const [image, embeds] of imageStore.tokens(input.ownImages)) {
      log.dataReady();
      const texts = pairs.textsOf(image);
      const logits = matchImage(model, textStore, embeds, texts, tokenBudget);
      if (pending !== undefined) scores.scatterLogits(pending); // the device works on this image meanwhile
      pending = { image, texts, logits };
      log.step(1, input.workOf?.(image));
    }
    if (pending !== undefined) scores.scatterLogits(pending);
  } catch (error) {
    pending?.logits.dispose();
    log.abort();
    throw error;
  }
  log.end();
  const slots = { imageToText: ranks.sum(scores.imageToText), textToImage: ranks.sum(scores.textToImage) };
  return {
    imageToText: scoreRows(imageToText, slots.imageToText, rowOf.length),
    textToImage: scoreRows(textToImage, slots.textToImage, candidates.images, rowOf),
    candidates,
    slots,
    pairs: { computed: pairs.total, reference: candidates.images * imageToText.k + rowOf.length * textToImage.k },
  };
}
