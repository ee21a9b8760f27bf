// The evaluation of one split: features of images and texts, candidates by similarity, re-ranking by the ITM head.
import { UserError } from '../errors.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { scope } from '../torch/tensor.js';
import { type Budgets, chooseBudgets } from './budgets.js';
import { selectCandidates } from './candidates.js';
import { type ImageSource, ImageStore, type LoopLog } from './image-store.js';
import { rerank, type SplitScores } from './rerank.js';
import { TextStore } from './text-store.js';
import { uniqueTexts } from './unique-texts.js';

/** A split as evaluation sees it. */
export interface EvaluationInput {
  images: ImageSource;
  /** Token ids of each text, [CLS] … [SEP], without padding. */
  texts: readonly ArrayLike<number>[];
  /** Id of [ENC]. */
  encToken: number;
}

export interface EvaluationOptions {
  kTest: number;
  /** Bytes that image tokens and text stems may take; chosen by the device's free memory when undefined. */
  featureMemory?: number | undefined;
  /** Begins the log of a loop of `total` images. */
  startLoop(header: string, total: number): LoopLog;
  /** One line for the user. */
  print(line: string): void;
  /** Tokens at once, for tests; chosen by the device otherwise. */
  tokenBudget?: number;
}

/** Seconds each phase took, and what was done in it. */
export interface PhaseTimes {
  features: number;
  rerank: number;
}

/**
 * Scores every image of a split against its k_test best texts and the reverse, as the reference's `evaluation`.
 * Throws a UserError when there are no images or texts.
 */
export function evaluateSplit(
  model: BlipRetrieval,
  { images, texts, encToken }: EvaluationInput,
  options: EvaluationOptions,
): { scores: SplitScores; seconds: PhaseTimes } {
  if (images.count === 0 || texts.length === 0)
    throw new UserError(
      `there are ${images.count} images and ${texts.length} captions to evaluate; both must be there`,
    );
  const { kTest, print } = options;
  if (kTest > texts.length || kTest > images.count)
    print(
      `k_test ${kTest} is more than there are candidates: ${Math.min(kTest, texts.length)} texts an image and ` +
        `${Math.min(kTest, images.count)} images a text are re-ranked`,
    );
  const started = performance.now();
  const budgets: Budgets = chooseBudgets(model, options.featureMemory);
  const tokenBudget = options.tokenBudget ?? budgets.tokens;
  const unique = uniqueTexts(texts);
  const textStore = TextStore.encode(model, unique, encToken, tokenBudget, budgets.stems);
  let imageStore: ImageStore | undefined;
  try {
    imageStore = ImageStore.encode(model, images, budgets.images, options.startLoop('Features:', images.count));
    if (imageStore.keptImages < images.count)
      print(
        `image features of ${imageStore.keptImages} of ${images.count} images fit into memory; the others are encoded again (feature_memory raises it)`,
      );
    const { features } = imageStore;
    const candidates = scope(() => selectCandidates(features, textStore.features, unique.rowOf, kTest));
    const ranked = performance.now();
    const loop = options.startLoop('Evaluation:', images.count);
    const scores = rerank(model, imageStore, textStore, candidates, tokenBudget, loop);
    const seconds = { features: (ranked - started) / 1000, rerank: (performance.now() - ranked) / 1000 };
    return { scores, seconds };
  } finally {
    imageStore?.dispose();
    textStore.dispose();
  }
}
