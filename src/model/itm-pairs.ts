// The pairs of one training step's matching loss (ITM): the batch's own pairs, and each text and image with its negative.
// Shapes: n pairs, T tokens of their texts, I distinct images.
import { at, get } from '../errors.js';
import type { Device, Tensor } from '../torch/tensor.js';
import { upload } from '../torch/transfer.js';
import type { Negatives } from './negatives.js';
import { membersByGroup } from './offsets.js';
import { layOutTexts, type PackedTexts, packedTexts } from './packed-texts.js';
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
  labels: Tensor; // int64 (n): 1 where text and image belong together, else 0
  /** The candidates that are images 0 to I - 1: int32 (I). */
  images: Tensor;
  /** Rows of the batch that had no negative. */
  withoutNegative: number;
}

/** Where the rows of each image stand, as I blocks of the most any image has; `imageOf[r]` is row r's image. */
export function rowsByImage(imageOf: Int32Array, images: number): Record<keyof RowsByImage, Int32Array> {
  const members = membersByGroup(imageOf, images);
  const most = Math.max(...members.map((rows) => rows.length));
  const spread = new Int32Array(images * most);
  const gather = new Int32Array(imageOf.length);
  for (const [image, rows] of members.entries()) {
    spread.set(rows, image * most);
    for (const [i, row] of rows.entries()) gather[row] = image * most + i;
  }
  return { spread, gather };
}

/**
 * The 3·B pairs of a batch: (text i, image i), (text i, a negative image), (a negative text, image i). `texts` are the
 * candidates' token rows, the own batch's at `offset`; `imageSlot` says which of the I images a candidate image is, and
 * lists them in order. One upload.
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
  const { layout, arrays } = layOutTexts(
    pairs.map(({ text }) => text),
    { firstToken: encToken },
  );
  const rows = rowsByImage(imageOfToken, imageSlot.size);
  const firstRows = rowsByImage(imageOfPair, imageSlot.size);
  const sent = upload(device, {
    ...arrays,
    spread: rows.spread,
    gather: rows.gather,
    firstSpread: firstRows.spread,
    firstGather: firstRows.gather,
    labels: BigInt64Array.from(pairs, ({ label }) => BigInt(label)),
    images: Int32Array.from(imageSlot.keys()),
  });
  return {
    texts: packedTexts(layout, sent),
    rows: { spread: sent.spread, gather: sent.gather },
    firstRows: { spread: sent.firstSpread, gather: sent.firstGather },
    labels: sent.labels,
    images: sent.images,
    withoutNegative,
  };
}
