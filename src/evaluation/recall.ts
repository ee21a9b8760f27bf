// Recall at 1, 5 and 10 in both directions from two score matrices, in percent, as the reference's itm_eval counts it.
import { UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { denseRows, type ScoreRows } from './scores.js';

/** Recalls in percent; the names are those of evaluate.txt and log.txt. `txt_`: texts found for an image; `img_`: images found for a text. */
export interface RetrievalMetrics {
  txt_r1: number;
  txt_r5: number;
  txt_r10: number;
  txt_r_mean: number;
  img_r1: number;
  img_r5: number;
  img_r10: number;
  img_r_mean: number;
  r_mean: number;
}

/**
 * Recalls of one split.
 *
 * An image counts as found at k when one of its captions is among its k best texts; an image without captions is never
 * found but is counted. Of equal scores the higher index ranks first (numpy's stable argsort, reversed).
 *
 * @param scoresI2t (images, texts), a matrix row by row or a source of rows; any finite or infinite number
 * @param scoresT2i (texts, images), likewise
 * @param txt2img (texts) the image of each text
 * @param img2txt (images) the texts of each image
 * @throws UserError when a score is NaN, a size does not fit, or there is no image or no text
 */
export function itmEval(
  scoresI2t: Float32Array | ScoreRows,
  scoresT2i: Float32Array | ScoreRows,
  txt2img: Int32Array,
  img2txt: readonly (readonly number[])[],
): RetrievalMetrics {
  const images = img2txt.length;
  const texts = txt2img.length;
  if (images === 0 || texts === 0) {
    throw new UserError(
      `Recall needs at least one image and one caption, but received ${counted(images, 'image')} and ${counted(texts, 'caption')}: check the annotation file.`,
    );
  }
  const imageToText = rowsOf('image-to-text', scoresI2t, images, texts);
  const textToImage = rowsOf('text-to-image', scoresT2i, texts, images);

  const imageRanks = img2txt.map((captions, image) => {
    const row = imageToText.row(image);
    checkNumbers('image-to-text', row, image);
    return bestRank(row, captions);
  });
  const textRanks = Array.from(txt2img, (image, text) => {
    const row = textToImage.row(text);
    checkNumbers('text-to-image', row, text);
    return bestRank(row, [image]);
  });

  const [tr1, tr5, tr10] = [recall(imageRanks, 1), recall(imageRanks, 5), recall(imageRanks, 10)];
  const [ir1, ir5, ir10] = [recall(textRanks, 1), recall(textRanks, 5), recall(textRanks, 10)];
  // The order of these sums is the reference's: its JSON numbers are met to the last digit.
  const trMean = (tr1 + tr5 + tr10) / 3;
  const irMean = (ir1 + ir5 + ir10) / 3;
  return {
    txt_r1: tr1,
    txt_r5: tr5,
    txt_r10: tr10,
    txt_r_mean: trMean,
    img_r1: ir1,
    img_r5: ir5,
    img_r10: ir10,
    img_r_mean: irMean,
    r_mean: (trMean + irMean) / 2,
  };
}

/** Rank, from 0, of the best of `targets` in a row of scores: the number of entries that rank before it; Infinity for no target. */
function bestRank(row: Float32Array, targets: readonly number[]): number {
  let best = -1;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (const target of targets) {
    const score = row[target];
    if (score === undefined) {
      throw new UserError(
        `Recall received the index ${target} for a row of ${counted(row.length, 'score')}: the lists of images and captions do not fit the scores.`,
      );
    }
    if (best < 0 || score > bestScore || (score === bestScore && target > best)) {
      best = target;
      bestScore = score;
    }
  }
  if (best < 0) return Number.POSITIVE_INFINITY;
  let before = 0;
  for (let i = 0; i < best; i++) if ((row[i] as number) > bestScore) before++;
  for (let i = best + 1; i < row.length; i++) if ((row[i] as number) >= bestScore) before++;
  return before;
}

function recall(ranks: readonly number[], k: number): number {
  return (100 * ranks.filter((rank) => rank < k).length) / ranks.length;
}

function rowsOf(direction: string, scores: Float32Array | ScoreRows, rows: number, columns: number): ScoreRows {
  const dense = scores instanceof Float32Array;
  const fits = dense ? scores.length === rows * columns : scores.rows === rows && scores.columns === columns;
  if (fits) return dense ? denseRows(scores, rows, columns) : scores;
  const received = dense ? scores.length : `${scores.rows} x ${scores.columns}`;
  throw new UserError(
    `Expected ${rows} x ${columns} ${direction} scores but received ${received}: the scores belong to other annotations.`,
  );
}

function checkNumbers(direction: string, row: Float32Array, index: number): void {
  const column = row.findIndex((score) => Number.isNaN(score));
  if (column < 0) return;
  throw new UserError(
    `The ${direction} score in row ${index}, column ${column} is not a number (NaN): the checkpoint holds non-finite weights, or the precision overflowed. Look at it with \`inspect --stats\`, or set \`precision\` to fp32.`,
  );
}

/** Recalls in percent that scores drawn at random would give. */
export interface ChanceLevel {
  /** Texts for an image, at 1, 5, 10. */
  text: [number, number, number];
  /** Images for a text, at 1, 5, 10. */
  image: [number, number, number];
}

/**
 * The level of chance of a split, in percent. For an image with c of T texts, k random texts miss them all with
 * probability C(T-c, k) / C(T, k); for a text, k of N images include the right one with probability k / N.
 *
 * @param img2txt (images) the texts of each image
 * @param texts number of texts T
 */
export function chanceLevel(img2txt: readonly (readonly number[])[], texts: number): ChanceLevel {
  const images = img2txt.length;
  const textChance = (k: number) => {
    const hits = img2txt.map((captions) => {
      let miss = 1;
      // C(T-c, k) / C(T, k) as a product over the k draws, which neither overflows nor cancels.
      for (let draw = 0; draw < Math.min(k, texts); draw++) {
        miss *= Math.max(0, texts - captions.length - draw) / (texts - draw);
      }
      return 1 - miss;
    });
    return (100 * hits.reduce((sum, hit) => sum + hit, 0)) / Math.max(1, images);
  };
  const imageChance = (k: number) => (100 * Math.min(k, images)) / Math.max(1, images);
  return {
    text: [textChance(1), textChance(5), textChance(10)],
    image: [imageChance(1), imageChance(5), imageChance(10)],
  };
}
