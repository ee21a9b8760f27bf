// The pairs of one training step's matching loss: own pairs, and each text and image with its negative.
// Shapes: n pairs, T tokens of their texts, I distinct images.
import type { Device } from '../torch/tensor.js';
import type { PackedTokens } from './blip-retrieval.js';
import type { Negatives } from './negatives.js';
import { int32, packingOf } from './packed-texts.js';
import type { RowsByImage } from './text-encoder.js';

/** One text against one image. */
interface Pair {
  /** Token ids, [ENC] … [SEP]. */
  text: Int32Array;
  /** Which of the I images. */
  image: number;
  label: 0 | 1;
}

/** Pairs packed for the text encoder, in order of the length of their texts. */
export interface MatchBatch {
  tokens: PackedTokens;
  rows: RowsByImage;
  firstRows: RowsByImage;
  labels: number[];
  /** Rows of the batch that had no negative. */
  withoutNegative: number;
}

/** Where the rows of each image stand, as I blocks of the most any image has; `owners[r]` is row r's image. */
export function rowsByImage(owners: Int32Array, images: number, device: Device): RowsByImage {
  const counts = new Int32Array(images);
  for (const image of owners) counts[image] = (counts[image] ?? 0) + 1;
  const most = Math.max(...counts);
  const spread = new Int32Array(images * most);
  const gather = new Int32Array(owners.length);
  const next = new Int32Array(images);
  owners.forEach((image, row) => {
    const place = image * most + (next[image] ?? 0);
    next[image] = (next[image] ?? 0) + 1;
    spread[place] = row;
    gather[row] = place;
  });
  return { spread: int32(spread, device), gather: int32(gather, device) };
}

/**
 * The 3·B pairs of a batch: (text i, image i), (text i, a negative image), (a negative text, image i). `texts` are the
 * candidates' token rows, the own batch's at `offset`; `imageSlot` gives a candidate image's place among the I images.
 */
export function matchPairs(
  texts: readonly Int32Array[],
  offset: number,
  negatives: Negatives,
  imageSlot: (candidate: number) => number,
  images: number,
  encToken: number,
  device: Device,
): MatchBatch {
  const batch = negatives.imageOfText.length;
  const withEnc = (candidate: number) => Int32Array.from(texts[candidate] ?? []).fill(encToken, 0, 1);
  const pairs: Pair[] = [];
  let withoutNegative = 0;
  for (let i = 0; i < batch; i++) {
    const own = offset + i;
    const [image = -1, text = -1] = [negatives.imageOfText[i], negatives.textOfImage[i]];
    pairs.push({ text: withEnc(own), image: imageSlot(own), label: 1 });
    if (image >= 0) pairs.push({ text: withEnc(own), image: imageSlot(image), label: 0 });
    if (text >= 0) pairs.push({ text: withEnc(text), image: imageSlot(own), label: 0 });
    if (image < 0 || text < 0) withoutNegative++;
  }
  pairs.sort((a, b) => a.text.length - b.text.length);
  const lengths = Int32Array.from(pairs, ({ text }) => text.length);
  const packing = packingOf(lengths, device);
  const ids = new Int32Array(packing.tokens);
  const positions = new Int32Array(packing.tokens);
  const owners = new Int32Array(packing.tokens);
  let at = 0;
  for (const { text, image } of pairs)
    text.forEach((id, position) => {
      ids[at] = id;
      positions[at] = position;
      owners[at++] = image;
    });
  return {
    tokens: { ids: int32(ids, device), positions: int32(positions, device), packing },
    rows: rowsByImage(owners, images, device),
    firstRows: rowsByImage(
      Int32Array.from(pairs, ({ image }) => image),
      images,
      device,
    ),
    labels: pairs.map(({ label }) => label),
    withoutNegative,
  };
}
