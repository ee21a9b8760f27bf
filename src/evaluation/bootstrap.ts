// Intervals of recalls: the images are drawn again, with replacement, and the recalls counted anew (percentile bootstrap,
// Efron 1979). A caption goes with its image, since captions of one image are not independent.
import { Random } from '../data/random.js';
import { at } from '../errors.js';
import { DEPTHS } from './ranks.js';
import type { DirectionRanks } from './similarity-ranks.js';

/** The recalls and means of evaluate.txt, in its order. */
export const METRICS = [
  ...['txt_r1', 'txt_r5', 'txt_r10', 'txt_r_mean'],
  ...['img_r1', 'img_r5', 'img_r10', 'img_r_mean', 'r_mean'],
] as const satisfies readonly string[];
export type MetricName = (typeof METRICS)[number];

/** 95 % of the resampled values lie from `low` to `high`, in percent. */
export interface Interval {
  low: number;
  high: number;
}

export interface BootstrapOptions {
  /** Times the images are drawn; 1,000 by default. */
  resamples?: number;
  seed?: number;
}

/** Of each image: whether it was found at 1, 5, 10; how many of its captions were; and how many it has. */
interface Hits {
  images: number;
  image: readonly Float64Array[]; // DEPTHS of (N)
  text: readonly Float64Array[]; // DEPTHS of (N)
  captions: Float64Array; // (N)
}

function hitsOf({ imageToText, textToImage }: DirectionRanks, txt2img: Int32Array): Hits {
  const images = imageToText.length;
  const captions = new Float64Array(images);
  const text = DEPTHS.map(() => new Float64Array(images));
  for (const [caption, image] of txt2img.entries()) {
    captions[image] = at(captions, image) + 1;
    for (const [d, depth] of DEPTHS.entries()) {
      const found = at(text, d);
      if (at(textToImage, caption) < depth) found[image] = at(found, image) + 1;
    }
  }
  return {
    images,
    captions,
    text,
    image: DEPTHS.map((depth) => Float64Array.from(imageToText, (rank) => Number(rank < depth))),
  };
}

/** The metrics, in the order of METRICS, of the images that were drawn. */
function metricsOf({ image, text, captions }: Hits, drawn: Int32Array): number[] {
  const sum = (values: Float64Array) => {
    let total = 0;
    for (const index of drawn) total += at(values, index);
    return total;
  };
  const all = sum(captions);
  const txt = image.map((found) => (100 * sum(found)) / drawn.length);
  const img = text.map((found) => (all === 0 ? 0 : (100 * sum(found)) / all));
  const mean = (values: readonly number[]) => values.reduce((total, value) => total + value, 0) / values.length;
  return [...txt, mean(txt), ...img, mean(img), (mean(txt) + mean(img)) / 2];
}

const intervalOf = (values: number[]): Interval => {
  const sorted = values.sort((a, b) => a - b);
  const quantile = (share: number) => at(sorted, Math.round(share * (sorted.length - 1)));
  return { low: quantile(0.025), high: quantile(0.975) };
};

function resample(
  images: number,
  { resamples = 1000, seed = 0 }: BootstrapOptions,
  visit: (drawn: Int32Array) => void,
) {
  const random = new Random(seed);
  const drawn = new Int32Array(images);
  for (let i = 0; i < resamples; i++) {
    for (let j = 0; j < images; j++) drawn[j] = random.below(images);
    visit(drawn);
  }
}

type Intervals = Record<MetricName, Interval>;

function intervalsOf(rows: readonly (readonly number[])[]): Intervals {
  const entries = METRICS.map((name, m) => [name, intervalOf(rows.map((row) => at(row, m)))]);
  return Object.fromEntries(entries) as Intervals;
}

/** The interval of every recall of one run. `txt2img` (M) is the image of each text. */
export function recallIntervals(ranks: DirectionRanks, txt2img: Int32Array, options: BootstrapOptions = {}): Intervals {
  const hits = hitsOf(ranks, txt2img);
  const rows: number[][] = [];
  resample(hits.images, options, (drawn) => rows.push(metricsOf(hits, drawn)));
  return intervalsOf(rows);
}

/** The interval of b - a of every recall of two runs on the same data: the same images are drawn for both. */
export function pairedIntervals(
  a: DirectionRanks,
  b: DirectionRanks,
  txt2img: Int32Array,
  options: BootstrapOptions = {},
): Intervals {
  const [hitsA, hitsB] = [hitsOf(a, txt2img), hitsOf(b, txt2img)];
  const rows: number[][] = [];
  resample(hitsA.images, options, (drawn) => {
    const [of, with_] = [metricsOf(hitsA, drawn), metricsOf(hitsB, drawn)];
    rows.push(of.map((value, m) => at(with_, m) - value));
  });
  return intervalsOf(rows);
}
