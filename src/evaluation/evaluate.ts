// The evaluation of one split: features of images and texts, candidates by similarity, re-ranking by the ITM head.
import { UserError } from '../errors.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import { type Budgets, chooseBudgets } from './budgets.js';
import { type Candidates, pairsByImage, selectCandidates } from './candidates.js';
import { type ImageSource, ImageStore, type LoopLog } from './image-store.js';
import { rerank, type SplitScores } from './rerank.js';
import { TextStore } from './text-store.js';
import { uniqueTexts } from './unique-texts.js';
import { rerankWork, splitByWork, stepCosts } from './work-split.js';

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
  /**
   * Undefined for one process. Each rank encodes as many images as any other and has as much to re-rank, and all of them
   * get all scores.
   */
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

const onlyRank: EvaluationRanks = {
  rank: 0,
  worldSize: 1,
  gatherRows: (x) => x,
  broadcast: () => {},
  sum: (values) => values,
};

/** Rank 0's candidates on every rank: unlike machines would order near ties differently, and a slot must mean one pair. */
function shareCandidates(ranks: EvaluationRanks, { imageToText, textToImage }: Candidates): void {
  for (const { index, similarity } of [imageToText, textToImage])
    for (const values of [index, similarity])
      scope(() => {
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        const shared = ops.fromBytes(bytes, 'uint8', [bytes.length]);
        ranks.broadcast(shared);
        bytes.set(shared.bytes());
      });
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
  const { ranks = onlyRank } = options;
  const { rank, worldSize } = ranks;
  const budgets: Budgets = chooseBudgets(model, options.featureMemory, worldSize);
  const bound = (of: number) => Math.round((images.count * of) / worldSize);
  const [first, end] = [bound(rank), bound(rank + 1)];
  const tokenBudget = options.tokenBudget ?? budgets.tokens;
  const unique = uniqueTexts(texts);
  const textStore = TextStore.encode(model, unique, encToken, tokenBudget, budgets.stems);
  let imageStore: ImageStore | undefined;
  try {
    const encoding = options.startLoop('Features:', end - first);
    imageStore = ImageStore.encode(model, images, budgets.images, encoding, [first, end]);
    if (imageStore.keptImages < end - first)
      print(
        `image features of ${imageStore.keptImages} of ${end - first} images fit into memory; the others are encoded again (feature_memory raises it)`,
      );
    const { features } = imageStore;
    const candidates = scope(() =>
      selectCandidates(ranks.gatherRows(features), textStore.features, unique.rowOf, kTest),
    );
    if (worldSize > 1) shareCandidates(ranks, candidates);

    // Every rank comes to the same split, from the same candidates.
    const pairs = pairsByImage(candidates, unique.lengths);
    const kept = ranks.sum(new Float32Array(worldSize).fill(imageStore.keptImages, rank, rank + 1));
    const ranges = Array.from(kept, (own, of) => ({ first: bound(of), end: bound(of + 1), kept: own }));
    const costs = stepCosts(model.architecture);
    const own = splitByWork(rerankWork(pairs, costs), ranges, costs.encoding)[rank] ?? new Int32Array();

    const ranked = performance.now();
    const log = options.startLoop('Evaluation:', own.length);
    const work = { candidates, pairs, images: own, tokenBudget, log, sum: ranks.sum };
    const scores = rerank(model, imageStore, textStore, work);
    const seconds = { features: (ranked - started) / 1000, rerank: (performance.now() - ranked) / 1000 };
    return { scores, seconds };
  } finally {
    imageStore?.dispose();
    textStore.dispose();
  }
}
