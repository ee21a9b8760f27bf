// The pairs of one training step's matching loss (ITM): the batch's own pairs, and each text and image with its negative.
// Shapes: n pairs, T tokens of their texts, I distinct images.
import { at, get } from '../errors.js';
import type { Device } from '../torch/tensor.js';
import type { Negatives } from './negatives.js';
import { membersByGroup } from './offsets.js';
import { int32, type PackedTexts, packTexts } from './packed-texts.js';
import type { RowsByImage } from './text-encoder.js';

/** One text against one image. */
interface Pair {
  text: Int32Array;
  /** Which of the I images. */
  image: number;
  label: 0 | 1;
}

/** Pairs packed for the text encoder, in order of the length of their texts. */
export interface ItmPairs {
  texts: PackedTexts; // [ENC] … [SEP]
  rows: RowsByImage;
  firstRows: RowsByImage;
  labels: number[];
  /** Rows of the batch that had no negative. */
  withoutNegative: number;
}

/** Where the rows of each image stand, as I blocks of the most any image has; `imageOf[r]` is row r's image. */
export function rowsByImage(imageOf: Int32Array, images: number, device: Device): RowsByImage {
  const members = membersByGroup(imageOf, images);
  const most = Math.max(...members.map((rows) => rows.length));
  const spread = new Int32Array(images * most);
  const gather = new Int32Array(imageOf.length);
  for (const [image, rows] of members.entries()) {
    spread.set(rows, image * most);
    for (const [i, row] of rows.entries()) gather[row] = image * most + i;
  }
  return { spread: int32(spread, device), gather: int32(gather, device) };
}

/**
 * The 3·B pairs of a batch: (text i, image i), (text i, a negative image), (a negative text, image i). `texts` are the
 * candidates' token rows, the own batch's at `offset`; `imageSlot` says which of the I `images` a candidate image is.
 */
export function itmPairs(
  texts: readonly Int32Array[],
  offset: number,
  { imageOfText, textOfImage }: Negatives,
  imageSlot: ReadonlyMap<number, number>,
  encToken: number,
  device: Device,
): ItmPairs {
  const pairs: Pair[] = [];
  const add = (text: number, image: number, label: 0 | 1) =>
    pairs.push({ text: at(texts, text), image: get(imageSlot, image), label });
  let withoutNegative = 0;
  for (const [i, image] of imageOfText.entries()) {
    const own = offset + i;
    const text = at(textOfImage, i);
    add(own, own, 1);
    if (image >= 0) add(own, image, 0);
    if (text >= 0) add(text, own, 0);
    if (image < 0 || text < 0) withoutNegative++;
  }
  pairs.sort((a, b) => a.text.length - b.text.length);
  const imageOfPair = Int32Array.from(pairs, ({ image }) => image);
  const imageOfToken = Int32Array.from(pairs.flatMap(({ text, image }) => Array.from(text, () => image)));
  return {
    texts: packTexts(
      pairs.map(({ text }) => text),
      device,
      { firstToken: encToken },
    ),
    rows: rowsByImage(imageOfToken, imageSlot.size, device),
    firstRows: rowsByImage(imageOfPair, imageSlot.size, device),
    labels: pairs.map(({ label }) => label),
    withoutNegative,
  };
}
