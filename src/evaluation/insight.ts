// What one evaluation tells beyond its recalls: recalls by similarity alone, recalls of every smaller k_test, intervals,
// ranks. Kept in insight_val.json and insight_test.json, from which reports and comparisons are made.
import { createHash } from 'node:crypto';
import { join, relative, resolve } from 'node:path';
import type { RetrievalSplit } from '../data/annotations.js';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { makeFolder } from '../disk/folder.js';
import { schema, type ValueOf } from '../disk/schema.js';
import { at, UserError } from '../errors.js';
import type { Architecture } from '../model/architecture.js';
import { METRICS, recallIntervals } from './bootstrap.js';
import { pairsByImage } from './candidates.js';
import type { PhaseTimes } from './evaluate.js';
import { chooseExamples, Example, RANDOM, Retrieved, SHOWN, WORST } from './examples.js';
import { DEPTHS, type DirectionSummary, summariseRanks } from './ranks.js';
import type { SplitReport } from './report.js';
import type { SplitScores } from './rerank.js';
import type { DirectionRanks } from './similarity-ranks.js';
import { rerankWork, stepCosts } from './work-split.js';

export const SplitInsight = schema((z) => {
  const percent = z.number();
  const Metrics = z.record(z.enum(METRICS), percent);
  const Chance = z.object({ text: z.tuple([percent, percent, percent]), image: z.tuple([percent, percent, percent]) });
  const Spread = z.object({ median: z.number(), mean: z.number() });
  /** Ranks from 1; null for an image without captions. */
  const Ranks = z.array(z.int().nullable());

  return z.object({
    version: z.literal(1),
    split: z.string(),
    /** Absolute: images are named relative to it. */
    imageRoot: z.string(),
    /** Of the images' paths and the captions, in order: two runs with the same can be compared. */
    data: z.string(),
    images: z.int(),
    texts: z.int(),
    /** (texts) the image of each text. */
    imageOfText: z.array(z.int()),
    metrics: Metrics,
    chance: Chance,
    /** Recalls when similarity alone ranks (ITC), without the multimodal encoder. */
    similarityMetrics: Metrics,
    /** 95 % of bootstrap samples over images. */
    intervals: z.record(z.enum(METRICS), z.object({ low: percent, high: percent })),
    /** Of the best right answer, from 1. `text`: of a caption, for an image; `image`: of an image, for a caption. */
    ranks: z.object({ text: Spread, image: Spread }),
    similarityRanks: z.object({ text: Spread, image: Spread }),
    /** Queries whose right answers are all no candidate: no re-ranking can find them. Percent. */
    withoutCandidate: z.object({ text: percent, image: percent }),
    /** Entry k - 1: the metrics that k_test k would have given, METRICS in order. */
    byK: z.array(z.array(percent)),
    /** The smallest k from which on r_mean stays within 0.1 of that of k_test, and the share of the re-ranking it needs. */
    enough: z.object({ k: z.int(), workShare: z.number() }),
    /** Most candidates of a query: k_test, or fewer where there are not as many. */
    kTest: z.int(),
    seconds: z.object({ features: z.number(), rerank: z.number() }),
    queryRanks: z.object({ imageToText: Ranks, textToImage: Ranks }),
    /**
     * Ranks as evaluate.txt counts them, where these give other recalls: with fewer than ten candidates, those that were not
     * re-ranked are in the order of their index.
     */
    countedRanks: z.object({ imageToText: Ranks, textToImage: Ranks }).optional(),
    /** (images) paths inside image_root, and (texts) captions; older files have none. */
    imageNames: z.array(z.string()).optional(),
    captions: z.array(z.string()).optional(),
    /** image_root as seen from the folder of this file, for a folder that is moved together with its images. */
    imageRootFromHere: z.string().optional(),
    examples: z.object({ captions: z.array(Example()), images: z.array(Example()) }),
  });
});
export type SplitInsight = ValueOf<typeof SplitInsight>;

/** What the insight is made of. */
export interface InsightInput {
  report: SplitReport;
  scores: SplitScores;
  seconds: PhaseTimes;
  split: RetrievalSplit;
  /** Tokens of each text. */
  lengths: Int32Array;
  architecture: Architecture;
  /** The folder that images are named relative to. */
  imageRoot: string;
  seed: number;
}

/** How near to the full r_mean is near enough, in percentage points. */
const NEAR = 0.1;
const RESAMPLES = 1000;

/** @throws Error where the split was scored without its truth */
export function insightOf(input: InsightInput): { insight: SplitInsight; retrieved: Retrieved } {
  const { report, scores, seconds, split, seed } = input;
  const { candidates, similarityRanks: similar } = scores;
  if (similar === undefined) throw new Error('The split was scored without its truth.');
  const summary = summariseRanks(scores, similar, split);
  const ranks: DirectionRanks = { imageToText: summary.imageToText.ranks, textToImage: summary.textToImage.ranks };
  const counted: DirectionRanks = {
    imageToText: summary.imageToText.counted,
    textToImage: summary.textToImage.counted,
  };
  const byK = curve(summary, split);
  const k = enoughCandidates(byK.map((row) => at(row, METRICS.indexOf('r_mean'))));
  const retrieved = new Retrieved(scores, ranks, split, input.imageRoot);
  const insight: SplitInsight = {
    version: 1,
    split: report.name,
    imageRoot: resolve(input.imageRoot),
    data: dataDigest(split, input.imageRoot),
    images: report.images,
    texts: report.texts,
    imageOfText: [...split.txt2img],
    metrics: { ...report.metrics },
    chance: report.chance,
    similarityMetrics: metricsOf(similar),
    intervals: recallIntervals(counted, split.txt2img, { resamples: RESAMPLES, seed }),
    ranks: { text: spread(ranks.imageToText), image: spread(ranks.textToImage) },
    similarityRanks: { text: spread(similar.imageToText), image: spread(similar.textToImage) },
    withoutCandidate: {
      text: 100 * summary.imageToText.withoutCandidate,
      image: 100 * summary.textToImage.withoutCandidate,
    },
    byK,
    enough: { k, workShare: workShare(input, k) },
    kTest: Math.max(candidates.imageToText.k, candidates.textToImage.k),
    seconds,
    queryRanks: { imageToText: fromOne(ranks.imageToText), textToImage: fromOne(ranks.textToImage) },
    ...(!givesSameHits(ranks, counted) && {
      countedRanks: { imageToText: fromOne(counted.imageToText), textToImage: fromOne(counted.textToImage) },
    }),
    imageNames: split.images.map((_, id) => retrieved.image(id)),
    captions: [...split.texts],
    examples: chooseExamples(retrieved, seed),
  };
  return { insight, retrieved };
}

/** Writes insight_<split>.json into `outputDir`. @throws UserError where it cannot be written */
export async function writeInsight(outputDir: string, insight: SplitInsight): Promise<void> {
  makeFolder(outputDir);
  const imageRootFromHere = relative(resolve(outputDir), insight.imageRoot);
  const text = `${JSON.stringify({ ...insight, imageRootFromHere } satisfies SplitInsight)}\n`;
  await writeFileAtomically(join(outputDir, insightFile(insight.split)), (file) => file.write(Buffer.from(text)));
}

export const insightFile = (split: string) => `insight_${split}.json`;

/** Recalls from ranks, summed in the order of recall.ts, so that equal ranks give equal numbers. */
function metricsOf({ imageToText, textToImage }: DirectionRanks): SplitInsight['metrics'] {
  const recalls = (ranks: Float64Array) =>
    DEPTHS.map((depth) => (100 * ranks.reduce((hits, rank) => hits + Number(rank < depth), 0)) / ranks.length);
  return named(fromRecalls(recalls(imageToText), recalls(textToImage)));
}

/** METRICS in order, from the recalls at 1, 5 and 10 of both directions. */
function fromRecalls(txt: readonly number[], img: readonly number[]): number[] {
  const [txtMean, imgMean] = [mean(txt), mean(img)];
  return [...txt, txtMean, ...img, imgMean, (txtMean + imgMean) / 2];
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function named(values: readonly number[]): SplitInsight['metrics'] {
  return Object.fromEntries(METRICS.map((name, m) => [name, at(values, m)])) as SplitInsight['metrics'];
}

/** The metrics of each k. Where one direction has fewer candidates than k, all of them are re-ranked. */
function curve(
  { imageToText, textToImage }: Record<'imageToText' | 'textToImage', DirectionSummary>,
  { txt2img, img2txt }: RetrievalSplit,
): number[][] {
  const last = (direction: DirectionSummary) => direction.hitsByK[0].length;
  const most = Math.max(last(imageToText), last(textToImage));
  const recalls = (direction: DirectionSummary, queries: number, k: number) =>
    direction.hitsByK.map((hits) => (100 * at(hits, Math.min(k, last(direction)) - 1)) / queries);
  return Array.from({ length: most }, (_, i) =>
    fromRecalls(recalls(imageToText, img2txt.length, i + 1), recalls(textToImage, txt2img.length, i + 1)),
  );
}

/** The smallest k from which on all values stay within NEAR of the last. */
export function enoughCandidates(means: readonly number[]): number {
  const full = at(means, means.length - 1);
  let k = means.length;
  while (k > 1 && Math.abs(at(means, k - 2) - full) <= NEAR + 1e-9) k--;
  return k;
}

/** The share of the re-ranking's work that remains with `k` candidates; see work-split.ts. */
function workShare({ scores, lengths, architecture }: InsightInput, k: number): number {
  const { candidates } = scores;
  const distinct = new Int32Array(candidates.textToImage.queries);
  for (const [text, row] of candidates.rowOf.entries()) distinct[row] = at(lengths, text);
  const work = (most: number) => {
    const first = (topK: typeof candidates.imageToText) => {
      const kept = Math.min(most, topK.k);
      const index = new Int32Array(topK.queries * kept);
      for (let query = 0; query < topK.queries; query++)
        index.set(topK.index.subarray(query * topK.k, query * topK.k + kept), query * kept);
      return { ...topK, k: kept, index };
    };
    const shorter = {
      ...candidates,
      imageToText: first(candidates.imageToText),
      textToImage: first(candidates.textToImage),
    };
    return rerankWork(pairsByImage(shorter, distinct), stepCosts(architecture)).reduce((sum, own) => sum + own, 0);
  };
  return work(k) / work(Number.POSITIVE_INFINITY);
}

function spread(ranks: Float64Array): { median: number; mean: number } {
  const finite = Array.from(ranks)
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  if (finite.length === 0) return { median: 0, mean: 0 };
  const middle = (finite.length - 1) / 2;
  const median = (at(finite, Math.floor(middle)) + at(finite, Math.ceil(middle))) / 2;
  return { median: median + 1, mean: mean(finite) + 1 };
}

/** Whether both are the same recalls of every query. */
function givesSameHits(a: DirectionRanks, b: DirectionRanks): boolean {
  return (['imageToText', 'textToImage'] as const).every((direction) =>
    DEPTHS.every((depth) => a[direction].every((rank, i) => rank < depth === at(b[direction], i) < depth)),
  );
}

const fromOne = (ranks: Float64Array) => Array.from(ranks, (rank) => (Number.isFinite(rank) ? rank + 1 : null));

/** The digest of images and captions; images by their paths inside `imageRoot`, so that it may lie elsewhere. */
export function dataDigest({ images, texts, txt2img }: RetrievalSplit, imageRoot: string): string {
  const hash = createHash('sha256');
  for (const image of images) hash.update(`${relative(imageRoot, image)}\0`);
  for (const [i, text] of texts.entries()) hash.update(`${at(txt2img, i)} ${text}\0`);
  return hash.digest('hex');
}

/** @throws UserError for a file that is none of these, or whose parts do not fit each other */
export function parseInsight(path: string, text: string): SplitInsight {
  try {
    const insight = SplitInsight().parse(JSON.parse(text));
    if (!fits(insight)) throw new Error('Its lists have other lengths than they say.');
    return insight;
  } catch (error) {
    throw new UserError(`${path} is no result of an evaluation. Evaluate again.`, { cause: error });
  }
}

/** Whether the lists of an insight are as long as they must be, and what is in them exists. */
function fits({ images, texts, imageOfText, queryRanks, countedRanks, byK, kTest, enough, ...rest }: SplitInsight) {
  const { imageNames, captions, examples } = rest;
  const isRank = (rank: number | null) => rank === null || rank >= 1;
  const areRanks = ({ imageToText, textToImage }: SplitInsight['queryRanks']) =>
    imageToText.length === images && textToImage.length === texts && [...imageToText, ...textToImage].every(isRank);
  return (
    imageOfText.length === texts &&
    imageOfText.every((image) => image >= 0 && image < images) &&
    areRanks(queryRanks) &&
    (countedRanks === undefined || areRanks(countedRanks)) &&
    (imageNames === undefined || imageNames.length === images) &&
    (captions === undefined || captions.length === texts) &&
    byK.length === kTest &&
    byK.every((row) => row.length === METRICS.length) &&
    enough.k >= 1 &&
    enough.k <= kTest &&
    [...examples.captions, ...examples.images].every(({ found }) => found.length <= SHOWN) &&
    Math.max(examples.captions.length, examples.images.length) <= WORST + RANDOM
  );
}
