// The evaluation of one split: features of images and texts, candidates by similarity, re-ranking by the ITM head.
import { UserError } from '../errors.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { scope, type Tensor } from '../torch/tensor.js';
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

/** What the ranks of a run exchange in an evaluation; every rank makes the same calls. */
export interface EvaluationRanks {
  rank: number;
  worldSize: number;
  /** Rows of all ranks in rank order; their numbers may differ. */
  gatherRows(x: Tensor): Tensor;
  /** x becomes rank 0's. */
  broadcast(x: Tensor): void;
  /** The sums over all ranks, element by element. */
  sum(values: Float32Array): Float32Array;
}

export interface EvaluationOptions {
  /** Undefined for one process. Each rank takes an equal share of the images, and all of them get all scores. */
  ranks?: EvaluationRanks | undefined;
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
  const { ranks } = options;
  const budgets: Budgets = chooseBudgets(model, options.featureMemory, ranks?.worldSize);
  const share = (rank: number) => Math.round((images.count * rank) / (ranks?.worldSize ?? 1));
  const [first, end] = ranks ? [share(ranks.rank), share(ranks.rank + 1)] : [0, images.count];
  const tokenBudget = options.tokenBudget ?? budgets.tokens;
  const unique = uniqueTexts(texts);
  const textStore = TextStore.encode(model, unique, encToken, tokenBudget, budgets.stems);
  let imageStore: ImageStore | undefined;
  try {
    ranks?.broadcast(textStore.features); // lest ranks on unlike machines choose unlike candidates
    const encoding = options.startLoop('Features:', end - first);
    imageStore = ImageStore.encode(model, images, budgets.images, encoding, [first, end]);
    if (imageStore.keptImages < end - first)
      print(
        `image features of ${imageStore.keptImages} of ${end - first} images fit into memory; the others are encoded again (feature_memory raises it)`,
      );
    const { features } = imageStore;
    const candidates = scope(() =>
      selectCandidates(ranks ? ranks.gatherRows(features) : features, textStore.features, unique.rowOf, kTest),
    );
    const ranked = performance.now();
    const loop = options.startLoop('Evaluation:', end - first);
    const scores = rerank(model, imageStore, textStore, candidates, tokenBudget, loop, ranks?.sum);
    const seconds = { features: (ranked - started) / 1000, rerank: (performance.now() - ranked) / 1000 };
    return { scores, seconds };
  } finally {
    imageStore?.dispose();
    textStore.dispose();
  }
}
