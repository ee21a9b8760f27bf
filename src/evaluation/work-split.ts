// Which rank re-ranks which images: each those it encoded, but overloaded ranks hand some to the least loaded.
// Images differ widely in pairs (a few are among the best for very many texts), so equal numbers of images do not mean
// equal work. An image that changes ranks is encoded again there: that costs a few percent of matching it with its texts
// (base: as much as 500 text tokens, of 17,000 on COCO), and needs less code than sending its tokens.

import { at } from '../errors.js';
import type { Architecture } from '../model/architecture.js';
import type { ImagePairs } from './candidates.js';

/** Estimated multiplications of the steps of re-ranking. */
export interface StepCosts {
  /** One text token through the multimodal encoder. */
  token: number;
  /** One image's keys and values for all layers. */
  keysValues: number;
  /** Encoding one image. */
  encoding: number;
}

/** The costs of a model's steps. Self-attention of texts is neglected: they are short. */
export function stepCosts({ vision, text }: Architecture): StepCosts {
  const tokens = (vision.imageSize / vision.patchSize) ** 2 + 1;
  const patches = 3 * vision.patchSize ** 2 * vision.width * tokens;
  return {
    // Six products of D × D (query, key, value, two outputs, cross-attention's query), two of D × intermediate.
    token: text.depth * (6 * text.width ** 2 + 2 * text.width * text.intermediate + 2 * tokens * text.width),
    keysValues: text.depth * 2 * tokens * vision.width * text.width,
    encoding: patches + vision.depth * (12 * tokens * vision.width ** 2 + 2 * tokens ** 2 * vision.width),
  };
}

/** The work of re-ranking each image, without encoding it. */
export function rerankWork({ tokens }: Pick<ImagePairs, 'tokens'>, costs: StepCosts): Float64Array {
  return Float64Array.from(tokens, (own) => costs.keysValues + own * costs.token);
}

/** The images `first` to `end` - 1 that a rank encoded; it has kept the tokens of the first `kept`. */
export interface EncodedRange {
  first: number;
  end: number;
  kept: number;
}

/**
 * The images that each rank re-ranks. A rank with more than the mean hands over images, its last ones first (those it
 * has not kept), each to the rank with the least work, as long as that one stays below the giver. So no rank's work is
 * more than one image above the mean. `encoding` is the work of encoding an image whose tokens were not kept.
 */
export function splitByWork(work: Float64Array, ranges: readonly EncodedRange[], encoding: number): Int32Array[] {
  const owner = new Int32Array(work.length);
  const loads = new Float64Array(ranges.length);
  const load = (rank: number) => at(loads, rank);
  const atHome = (image: number, { first, kept }: EncodedRange) =>
    at(work, image) + (image < first + kept ? 0 : encoding);
  for (const [rank, range] of ranges.entries()) {
    owner.fill(rank, range.first, range.end);
    for (let image = range.first; image < range.end; image++) loads[rank] = load(rank) + atHome(image, range);
  }
  const mean = loads.reduce((total, own) => total + own, 0) / loads.length;
  for (const [giver, range] of ranges.entries()) {
    for (let image = range.end - 1; image >= range.first && load(giver) > mean; image--) {
      const moved = at(work, image) + encoding;
      const taker = loads.indexOf(Math.min(...loads));
      if (load(taker) + moved >= load(giver)) continue;
      owner[image] = taker;
      loads[giver] = load(giver) - atHome(image, range);
      loads[taker] = load(taker) + moved;
    }
  }
  const images = Int32Array.from(owner.keys());
  return ranges.map((_, rank) => images.filter((image) => owner[image] === rank));
}
