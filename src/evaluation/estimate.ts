// How long an evaluation will take, and what memory, from the costs of its steps and the counts of its splits.
import type { Architecture } from '../model/architecture.js';
import { patchesOf } from '../model/state-dict.js';
import type { Precision } from '../torch/precision.js';
import type { StepCosts } from './work-split.js';

/** What there is in a split. */
export interface SplitCounts {
  images: number;
  texts: number;
  /** Texts that differ, and the tokens of all of these. */
  distinct: number;
  tokens: number;
}

/** Seconds of the steps of an evaluation, as they were measured on a sample of a split. */
export interface EvaluationCosts {
  /** Until the loader's threads run. */
  start: number;
  /** One image, decoded and encoded. */
  image: number;
  /** One token of a distinct text. */
  token: number;
  /** One similarity of an image and a text, and looking for the best. */
  similarity: number;
  /** One multiplication of the work model of re-ranking (see StepCosts). */
  work: number;
  /** Of the pairs that both directions ask for together, the share that is left when no pair counts twice. */
  distinctShare: number;
}

/** How many pairs are re-ranked: what both directions ask for, a pair of both once. */
export function expectedPairs({ images, texts, distinct }: SplitCounts, kTest: number, distinctShare: number): number {
  const ofImages = (images * Math.min(kTest, texts) * distinct) / texts;
  const ofTexts = distinct * Math.min(kTest, images);
  const all = images * distinct;
  return Math.min(all, Math.max(ofImages, ofTexts, distinctShare * (ofImages + ofTexts)));
}

export interface EvaluationPlan {
  kTest: number;
  steps: StepCosts;
  /** Images whose tokens are kept between the two passes; the others are encoded twice. */
  kept: number;
  /** Ranks that have a device of their own, and so share the time. */
  ranks: number;
}

/** The expected seconds of a split. Every rank encodes all texts, and its share of the rest. */
export function evaluationSeconds(counts: SplitCounts, costs: EvaluationCosts, plan: EvaluationPlan) {
  const { images, texts, distinct, tokens } = counts;
  const { kTest, steps, ranks } = plan;
  const pairs = expectedPairs(counts, kTest, costs.distinctShare);
  const again = Math.max(0, images - plan.kept);
  const features =
    costs.start + tokens * costs.token + (images * costs.image) / ranks + images * texts * costs.similarity;
  const work = images * steps.keysValues + pairs * (tokens / distinct) * steps.token;
  const rerank = (work * costs.work + again * costs.image) / ranks + (again > 0 ? costs.start : 0);
  return { pairs, features, rerank };
}

/** Bytes of one image's tokens, as they are kept between the passes. */
export function keptBytesOfImage({ vision }: Architecture, precision: Precision): number {
  return (patchesOf(vision) + 1) * vision.width * (precision === 'bf16' ? 2 : 4);
}

/** Bytes of the stem of one text token. */
export function stemBytes({ text }: Architecture, precision: Precision): number {
  return text.width * (precision === 'bf16' ? 2 : 4);
}
