// Where each query's right answer stands, and where it would stand if fewer candidates had been re-ranked: what one
// evaluation at k_test tells of every smaller one. Nothing here computes a score.
import { at } from '../errors.js';
import type { TopK } from './candidates.js';
import type { SplitScores } from './rerank.js';
import { NOT_RERANKED } from './scores.js';
import type { DirectionRanks, Truth } from './similarity-ranks.js';

/** One query's candidates, best by similarity first, and what each scored. */
interface Slots {
  index: Int32Array; // (k)
  score: Float32Array; // (k)
}

/** Of equal scores the higher index ranks first, as in recall.ts. */
const isBefore = (a: number, scoreA: number, b: number, scoreB: number) =>
  scoreA > scoreB || (scoreA === scoreB && a > b);

/**
 * The rank, from 0, of the best of `targets` when the first k slots are re-ranked, for every k from 1 to all of them: entry
 * k - 1. What is not re-ranked scores -100. Infinity where there is no target.
 */
export function ranksByK({ index, score }: Slots, targets: readonly number[], candidates: number): Float64Array {
  const ranks = new Float64Array(index.length).fill(Number.POSITIVE_INFINITY);
  if (targets.length === 0) return ranks;
  const isTarget = new Set(targets);
  // The target that ranks first, at the beginning with none re-ranked; how many of the re-ranked stand before it, and how
  // many of them have a higher index.
  let best = Math.max(...targets);
  let bestScore = NOT_RERANKED;
  let before = 0;
  let above = 0;
  for (let k = 1; k <= index.length; k++) {
    const [added, addedScore] = [at(index, k - 1), at(score, k - 1)];
    if (isTarget.has(added)) {
      const scores = new Map(Array.from(index.subarray(0, k), (candidate, slot) => [candidate, at(score, slot)]));
      [best, bestScore] = [-1, Number.NEGATIVE_INFINITY];
      for (const target of targets) {
        const own = scores.get(target) ?? NOT_RERANKED;
        if (best < 0 || isBefore(target, own, best, bestScore)) [best, bestScore] = [target, own];
      }
      [before, above] = [0, 0];
      for (const [candidate, own] of scores) {
        if (isBefore(candidate, own, best, bestScore)) before++;
        if (candidate > best) above++;
      }
    } else {
      if (isBefore(added, addedScore, best, bestScore)) before++;
      if (added > best) above++;
    }
    let others = 0; // not re-ranked, and before the target: only where it scores no more than they do
    if (bestScore === NOT_RERANKED) others = candidates - 1 - best - above;
    else if (bestScore < NOT_RERANKED) others = candidates - k;
    ranks[k - 1] = before + others;
  }
  return ranks;
}

/** What the ranks of one direction say. */
export interface DirectionSummary {
  /** Rank of each query's best right answer, from 0: among the re-ranked by their scores, the others behind by similarity. */
  ranks: Float64Array;
  /** The same as evaluate.txt counts: what is not re-ranked scores -100, and of those the higher index is first. */
  counted: Float64Array;
  /** Share of queries whose right answers are all no candidate. */
  withoutCandidate: number;
  /** Queries found at 1, 5 and 10 if k candidates were re-ranked: entry k - 1. */
  hitsByK: [Int32Array, Int32Array, Int32Array];
}

/** Recalls are counted at these ranks. */
export const DEPTHS = [1, 5, 10] as const;

function summarise(
  topK: TopK,
  scores: Float32Array,
  queryOf: ((query: number) => number) | undefined,
  targetsOf: readonly (readonly number[])[],
  candidates: number,
  similar: Float64Array,
): DirectionSummary {
  const { k } = topK;
  const ranks = new Float64Array(targetsOf.length);
  const counted = new Float64Array(targetsOf.length);
  const hitsByK: DirectionSummary['hitsByK'] = [new Int32Array(k), new Int32Array(k), new Int32Array(k)];
  let without = 0;
  for (const [query, targets] of targetsOf.entries()) {
    const first = (queryOf?.(query) ?? query) * k;
    const slots = { index: topK.index.subarray(first, first + k), score: scores.subarray(first, first + k) };
    const byK = ranksByK(slots, targets, candidates);
    for (const [d, depth] of DEPTHS.entries()) {
      const hits = at(hitsByK, d);
      for (let i = 0; i < k; i++) if (at(byK, i) < depth) hits[i] = at(hits, i) + 1;
    }
    const isCandidate = targets.some((target) => slots.index.includes(target));
    if (!isCandidate) without++;
    // Ties of similarity may put an answer that is no candidate among the first k: it stands behind them.
    counted[query] = at(byK, k - 1);
    ranks[query] = isCandidate ? at(counted, query) : Math.max(at(similar, query), k);
  }
  return { ranks, counted, hitsByK, withoutCandidate: without / targetsOf.length };
}

/** Both directions of a split that was scored with its truth. */
export function summariseRanks(
  scores: Pick<SplitScores, 'candidates' | 'slots'>,
  similar: DirectionRanks,
  { txt2img, img2txt }: Truth,
): Record<'imageToText' | 'textToImage', DirectionSummary> {
  const { imageToText, textToImage, rowOf, images } = scores.candidates;
  return {
    imageToText: summarise(
      imageToText,
      scores.slots.imageToText,
      undefined,
      img2txt,
      txt2img.length,
      similar.imageToText,
    ),
    textToImage: summarise(
      textToImage,
      scores.slots.textToImage,
      (text) => at(rowOf, text),
      Array.from(txt2img, (image) => [image]),
      images,
      similar.textToImage,
    ),
  };
}
