// A short measurement of an evaluation on a sample of a split: the same functions, and what each step of them costs.
import { at } from '../errors.js';
import type { LoopLog } from '../logging/metric-logger.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { range } from '../model/offsets.js';
import { type MemoryMeter, memoryMeter } from '../torch/device-memory.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import { chooseBudgets } from './budgets.js';
import { pairsByImage, selectCandidates } from './candidates.js';
import { type EvaluationCosts, expectedPairs, keptBytesOfImage, type SplitCounts } from './estimate.js';
import type { EvaluationInput } from './evaluate.js';
import { type ImageSource, ImageStore } from './image-store.js';
import { rerank } from './rerank.js';
import { TextStore } from './text-store.js';
import { uniqueTexts } from './unique-texts.js';
import { rerankWork, stepCosts } from './work-split.js';

export interface TrialOptions {
  kTest: number;
  /** Images that are encoded together. */
  batchSize: number;
  /** About the seconds that each half of it may take, features and re-ranking. */
  seconds: number;
}

/** What a trial found. */
export interface Trial {
  counts: SplitCounts;
  costs: EvaluationCosts;
  /** Images and pairs that were measured. */
  sample: { images: number; pairs: number };
  /** The most bytes that were held, without the features that were kept: process, weights, activations. */
  working: number;
}

const WARM_UP = { images: 2, texts: 8 };
/** Images of a sample: enough for steady loader threads, few enough to be read again and again. */
const MOST_IMAGES = 1024;
const MOST_RERANKED = 64;
/** Fewer texts for an image would be slower each than the many that an evaluation has. */
const LEAST_MATCHED = 48;
/** Features that similarities are measured with. */
const COMPARED = { images: 256, texts: 4096 };

/** `count` of the numbers 0 to `of` - 1, at equal distances. */
export function spread(count: number, of: number): Int32Array {
  const taken = Math.min(count, of);
  return Int32Array.from({ length: taken }, (_, i) => Math.floor(((i + 0.5) * of) / taken));
}

const seconds = () => performance.now() / 1e3;

/** When each step of a loop ended, and how many images it had. */
class Marks implements LoopLog {
  readonly begun = seconds();
  readonly steps: { at: number; count: number }[] = [];
  dataReady(): void {}
  step(count = 1): void {
    this.steps.push({ at: seconds(), count });
  }
  end(): void {}
  abort(): void {}

  /** Seconds an image from the second step on; of the only step where there is no other. */
  perImage(): number {
    const [first, ...others] = this.steps;
    if (first === undefined) return Number.NaN;
    const last = others.at(-1);
    if (last === undefined) return (first.at - this.begun) / first.count;
    return (last.at - first.at) / others.reduce((sum, { count }) => sum + count, 0);
  }

  /** Seconds that the first step took longer than the others. */
  start(): number {
    const [first] = this.steps;
    return first === undefined ? 0 : Math.max(0, first.at - this.begun - first.count * this.perImage());
  }
}

/** The images `numbers` of a source, as a source. */
function part(source: ImageSource, numbers: Int32Array): ImageSource {
  return { count: numbers.length, open: (images) => source.open(images.map((image) => at(numbers, image))) };
}

interface Measured {
  textSeconds: number;
  tokens: number;
  start: number;
  image: number;
  rerankSeconds: number;
  work: number;
  pairs: number;
  distinctShare: number;
  working: number;
}

/** One evaluation of a sample: every one of `reranked` images is matched with every one of `rows`. */
function measure(
  model: BlipRetrieval,
  source: ImageSource,
  rows: readonly Int32Array[],
  encToken: number,
  { reranked, shares }: { reranked: number; shares: { images: number; texts: number } },
  meter: MemoryMeter,
): Measured {
  const budgets = chooseBudgets(model);
  meter.reset();
  const started = seconds();
  const unique = uniqueTexts(rows);
  const texts = TextStore.encode(model, unique, encToken, budgets.tokens, budgets.stems);
  scope(() => ops.select(ops.select(texts.features, 0, 0), 0, 0).float32()); // waits for the device
  const textSeconds = seconds() - started;
  const encoding = new Marks();
  const images = ImageStore.encode(model, source, budgets.images, encoding);
  try {
    const candidates = scope(() => selectCandidates(images.features, texts.features, unique.rowOf, rows.length));
    const pairs = pairsByImage(candidates, unique.lengths);
    const ownImages = range(0, Math.min(reranked, images.keptImages));
    const log = new Marks();
    rerank(model, images, texts, { candidates, pairs, ownImages, tokenBudget: budgets.tokens, log });
    const works = rerankWork(pairs, stepCosts(model.architecture));
    const kept = images.keptImages * keptBytesOfImage(model.architecture, model.precision);
    return {
      textSeconds,
      tokens: unique.lengths.reduce((sum, length) => sum + length, 0),
      start: encoding.start(),
      image: encoding.perImage(),
      rerankSeconds: log.perImage(),
      work: works.reduce((sum, work) => sum + work, 0) / works.length,
      pairs: ownImages.length * unique.rows.length,
      distinctShare: distinctShareOf(images.features, texts.features, shares),
      working: meter.peak() - kept,
    };
  } finally {
    images.dispose();
    texts.dispose();
  }
}

/**
 * Of the pairs that both directions ask for, the share that is left when none counts twice: each image asks for the share
 * `texts` of the texts, each text for the share `images` of the images, by similarity. Features (n, E) and (m, E).
 */
export function distinctShareOf(
  imageFeatures: Tensor,
  textFeatures: Tensor,
  shares: { images: number; texts: number },
): number {
  const [n, m] = [imageFeatures.size(0), textFeatures.size(0)];
  const best = (share: number, of: number) => Math.min(of, Math.max(1, Math.round(share * of)));
  const [k, l] = [best(shares.texts, m), best(shares.images, n)];
  const wanted = new Set<number>();
  const found = (queries: Tensor, candidates: Tensor, most: number) =>
    scope(() => {
      const [, index] = ops.topk(ops.matmul(queries, ops.transpose(candidates, 0, 1)), most);
      const bytes = ops.to(index, { dtype: 'int32' }).bytes();
      return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    });
  for (const [slot, text] of found(imageFeatures, textFeatures, k).entries())
    wanted.add(Math.floor(slot / k) * m + text);
  for (const [slot, image] of found(textFeatures, imageFeatures, l).entries())
    wanted.add(image * m + Math.floor(slot / l));
  return wanted.size / (n * k + m * l);
}

/** Seconds of one similarity among many, both directions, with candidates of the best `k`. */
function similaritySeconds(
  { architecture, device }: BlipRetrieval,
  { images, texts }: SplitCounts,
  kTest: number,
): number {
  const [n, m] = [Math.min(images, COMPARED.images), Math.min(texts, COMPARED.texts)];
  return scope(() => {
    const drawn = (rows: number) => ops.normalize(ops.to(ops.randn([rows, architecture.embedDim]), { device }), -1);
    const [a, b] = [drawn(n), drawn(m)];
    const rowOf = range(0, m);
    const once = () => void selectCandidates(a, b, rowOf, Math.min(kTest, n));
    once();
    const started = seconds();
    once();
    return (seconds() - started) / (n * m);
  });
}

/** Measures what the steps of an evaluation of `input` cost. Blocks the thread. */
export function tryEvaluation(
  model: BlipRetrieval,
  { images, texts, encToken }: EvaluationInput,
  { kTest, batchSize, seconds: most }: TrialOptions,
): Trial {
  const { rows, lengths } = uniqueTexts(texts);
  const counts: SplitCounts = {
    images: images.count,
    texts: texts.length,
    distinct: rows.length,
    tokens: lengths.reduce((sum, length) => sum + length, 0),
  };
  const meter = memoryMeter(model.device);
  const shares = {
    images: Math.min(1, kTest / counts.images),
    texts: Math.min(1, kTest / counts.texts),
  };
  const run = (of: { images: number; texts: number; reranked: number }) => {
    const chosen = Array.from(spread(of.texts, rows.length), (row) => at(rows, row));
    const source = part(images, spread(of.images, images.count));
    return measure(model, source, chosen, encToken, { reranked: of.reranked, shares }, meter);
  };

  // A first small one, which is not counted, says how large the sample may be.
  const first = run({ ...WARM_UP, reranked: 2 });
  const wanted = Math.ceil(expectedPairs(counts, kTest, 1) / counts.images);
  const pairSeconds = first.rerankSeconds / Math.min(WARM_UP.texts, rows.length);
  const matched = Math.min(wanted, Math.max(LEAST_MATCHED, Math.floor(most / 3 / pairSeconds)));
  const reranked = Math.min(MOST_RERANKED, Math.max(2, Math.floor(most / (matched * pairSeconds))));
  const largest = Math.min(MOST_IMAGES, images.count);
  let sampled = Math.min(largest, Math.max(2 * batchSize, Math.floor(most / first.image)));
  let measured = run({ images: sampled, texts: matched, reranked });
  // The first one's time is mostly that of starting loader threads where images are quick.
  if (sampled < largest && sampled * measured.image < most / 2) {
    sampled = Math.min(largest, Math.max(8 * batchSize, Math.floor(most / measured.image)));
    measured = run({ images: sampled, texts: matched, reranked });
  }
  const { start, image, rerankSeconds, work, textSeconds, tokens, distinctShare, working, pairs } = measured;
  return {
    counts,
    costs: {
      start,
      image,
      token: textSeconds / tokens,
      similarity: similaritySeconds(model, counts, kTest),
      work: rerankSeconds / work,
      distinctShare,
    },
    sample: { images: sampled, pairs },
    working,
  };
}

/** Images that are encoded together to see what each adds. */
const ENCODED = [1, 3] as const;

/** Bytes that encoding takes for each image of a batch, and those that are held without one. */
export function encodingBytes(model: BlipRetrieval): { perImage: number; held: number } {
  const size = model.architecture.vision.imageSize;
  const meter = memoryMeter(model.device);
  const peakOf = (count: number) => {
    meter.reset();
    scope(() => {
      const { features } = model.encodeImages(ops.zeros([count, 3, size, size], { device: model.device }));
      features.float32(); // waits for the device
    });
    return meter.peak();
  };
  const [one, three] = [peakOf(ENCODED[0]), peakOf(ENCODED[1])];
  return { perImage: Math.max(0, (three - one) / (ENCODED[1] - ENCODED[0])), held: meter.now() };
}
