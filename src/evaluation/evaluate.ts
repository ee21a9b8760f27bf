// The evaluation of one split: features of images and texts, candidates by similarity, re-ranking by the ITM head.
import { oneRank, type Ranks } from '../distributed/ranks.js';
import { at, UserError } from '../errors.js';
import type { LoopLog } from '../logging/metric-logger.js';
import { counted } from '../logging/text.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import * as ops from '../torch/ops.js';
import { scope } from '../torch/tensor.js';
import { chooseBudgets } from './budgets.js';
import { type Candidates, pairsByImage, selectCandidates } from './candidates.js';
import { type ImageSource, ImageStore } from './image-store.js';
import { rerank, type SplitScores } from './rerank.js';
import { similarityRanks, type Truth } from './similarity-ranks.js';
import { TextStore } from './text-store.js';
import { uniqueTexts } from './unique-texts.js';
import { rerankWork, splitByWork, stepCosts } from './work-split.js';

/** A split as evaluation sees it. */
export interface EvaluationInput {
  images: ImageSource;
  /** Token ids of each text, [CLS] … [SEP], without padding. */
  texts: readonly Int32Array[];
  /** Id of [ENC]. */
  encToken: number;
  /** Which texts belong to which image, for the ranks by similarity; without it they are not computed. */
  truth?: Truth;
}

export interface EvaluationOptions {
  kTest: number;
  /** The ranks that share the work, one when left out; all of them get all scores. */
  ranks?: Ranks;
  /** Bytes that image tokens and text stems may take; chosen by the device's free memory when undefined. */
  featureMemory?: number | undefined;
  /** Starts the log of a loop of `total` images; silent by default. `work` is that of all, where images differ in it. */
  startLoop?(header: string, total: number, work?: number): LoopLog;
  /** Takes one line for the user; silent by default. */
  print?(line: string): void;
  /** Tokens at once, for tests; chosen by the device otherwise. */
  tokenBudget?: number;
}

export const SILENT: LoopLog = { dataReady() {}, step() {}, end() {}, abort() {} };

/** Seconds each phase took, and what was done in it. */
export interface PhaseTimes {
  features: number;
  rerank: number;
}

/** Rank 0's candidates on every rank: unlike machines would order near ties differently, and a slot must mean one pair. */
function shareCandidates(ranks: Ranks, { imageToText, textToImage }: Candidates): void {
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
 * Blocks the thread; loader workers keep decoding. @throws UserError when there are no images or texts
 */
export function evaluateSplit(
  model: BlipRetrieval,
  { images, texts, encToken, truth }: EvaluationInput,
  options: EvaluationOptions,
): { scores: SplitScores; seconds: PhaseTimes } {
  const { kTest, ranks = oneRank, startLoop = () => SILENT, print = () => {} } = options;
  if (images.count === 0 || texts.length === 0)
    throw new UserError(
      `Nothing can be evaluated: the split has ${counted(images.count, 'image')} and ${counted(texts.length, 'caption')}. Add rows to the annotation file.`,
    );
  if (kTest > texts.length || kTest > images.count)
    print(
      `k_test ${kTest} exceeds the number of candidates: ${counted(Math.min(kTest, texts.length), 'text')} an image and ` +
        `${counted(Math.min(kTest, images.count), 'image')} a text are re-ranked.`,
    );

  // ---- features: each rank encodes an equal share of the images, and all texts
  const started = performance.now();
  const { rank, worldSize } = ranks;
  const budgets = chooseBudgets(model, options.featureMemory, worldSize);
  const { tokenBudget = budgets.tokens } = options;
  const bound = (of: number) => Math.round((images.count * of) / worldSize);
  const [first, end] = [bound(rank), bound(rank + 1)];
  const unique = uniqueTexts(texts);
  const textStore = TextStore.encode(model, unique, encToken, tokenBudget, budgets.stems);
  let imageStore: ImageStore | undefined;
  try {
    const encoding = startLoop('Features:', end - first);
    imageStore = ImageStore.encode(model, images, budgets.images, encoding, [first, end]);
    const { features, keptImages } = imageStore;
    if (keptImages < end - first)
      print(
        `Image features of ${keptImages} of ${counted(end - first, 'image')} fit into memory; the others are encoded twice. Raise feature_memory to avoid that.`,
      );

    // ---- candidates
    const { candidates, similar } = scope(() => {
      const [ofImages, ofTexts] = [ranks.gatherRows(features), textStore.features];
      return {
        candidates: selectCandidates(ofImages, ofTexts, unique.rowOf, kTest),
        similar: truth && rank === 0 ? similarityRanks(ofImages, ofTexts, unique.rowOf, truth) : undefined,
      };
    });
    if (worldSize > 1) shareCandidates(ranks, candidates);

    // ---- re-ranking: every rank arrives at the same split of the work, from the same candidates
    const pairs = pairsByImage(candidates, unique.lengths);
    const kept = ranks.sum(new Float32Array(worldSize).fill(keptImages, rank, rank + 1));
    const ranges = Array.from(kept, (count, of) => ({ first: bound(of), end: bound(of + 1), kept: count }));
    const costs = stepCosts(model.architecture);
    const work = rerankWork(pairs, costs);
    const ownImages = at(splitByWork(work, ranges, costs.encoding), rank);
    const ranked = performance.now();
    const workOf = (image: number) =>
      at(work, image) + (image >= first && image < first + keptImages ? 0 : costs.encoding);
    const log = startLoop(
      'Evaluation:',
      ownImages.length,
      ownImages.reduce((sum, image) => sum + workOf(image), 0),
    );
    const input = { candidates, pairs, ownImages, tokenBudget, log, workOf, ranks };
    const scores = rerank(model, imageStore, textStore, input);
    const seconds = { features: (ranked - started) / 1000, rerank: (performance.now() - ranked) / 1000 };
    return { scores: { ...scores, similarityRanks: similar }, seconds };
  } finally {
    imageStore?.dispose();
    textStore.dispose();
  }
}
