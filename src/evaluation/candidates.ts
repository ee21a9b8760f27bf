// Which image–text pairs are re-ranked: for each image its k best texts, for each text its k best images, by similarity.
// Shapes: N images, M texts of which U are distinct, E feature width.

import { int32 } from '../model/packed-texts.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';

/** The k best of each query, best first: row q is [q·k, (q+1)·k). */
export interface TopK {
  queries: number;
  k: number;
  /** Candidate of each slot. */
  index: Int32Array;
  /** Similarity of each slot. */
  similarity: Float32Array;
}

/** Similarities of at most this many query–candidate pairs are held at a time. */
const BLOCK = 1 << 24;

/**
 * For each row of `queries` (Q, E) the k rows of `candidates` (C, E) of the greatest inner product. `columns`, when
 * given, says which candidate stands in each of a longer list's places: equal texts are places of one candidate.
 * Waits for the device once a block.
 */
function topK(queries: Tensor, candidates: Tensor, k: number, columns?: Int32Array): TopK {
  const count = queries.size(0);
  const places = columns?.length ?? candidates.size(0);
  const result: TopK = { queries: count, k, index: new Int32Array(count * k), similarity: new Float32Array(count * k) };
  const rows = Math.max(1, Math.floor(BLOCK / Math.max(1, places)));
  scope(() => {
    const placed = columns && int32(columns, queries.device);
    for (let from = 0; from < count; from += rows)
      scope(() => {
        const block = ops.slice(queries, 0, from, Math.min(count, from + rows));
        const similarities = ops.matmul(block, ops.transpose(candidates, 0, 1));
        const [values, indices] = ops.topk(placed ? ops.indexSelect(similarities, 1, placed) : similarities, k);
        result.similarity.set(values.float32(), from * k);
        const bytes = ops.to(indices, { dtype: 'int32' }).bytes();
        result.index.set(new Int32Array(bytes.buffer), from * k);
      });
  });
  return result;
}

/** The candidates of a split in both directions. */
export interface Candidates {
  images: number; // N
  uniqueTexts: number; // U
  /** N queries over the M texts; equal texts are separate candidates, as in the reference. */
  imageToText: TopK;
  /** U queries over the N images. */
  textToImage: TopK;
  /** Text → distinct row, (M). */
  rowOf: Int32Array;
}

/**
 * The k_test best candidates in both directions. imageFeatures (N, E), textFeatures (U, E) of the distinct texts,
 * both unit vectors. k is clamped to the number of candidates.
 */
export function selectCandidates(
  imageFeatures: Tensor,
  textFeatures: Tensor,
  rowOf: Int32Array,
  kTest: number,
): Candidates {
  const images = imageFeatures.size(0);
  return {
    images,
    uniqueTexts: textFeatures.size(0),
    rowOf,
    imageToText: topK(imageFeatures, textFeatures, Math.min(kTest, rowOf.length), rowOf),
    textToImage: topK(textFeatures, imageFeatures, Math.min(kTest, images)),
  };
}

/** The pairs of candidates by image: each pair of an image and a distinct text once, whichever direction wants it. */
export interface ImagePairs {
  /** Number of pairs of all images. */
  total: number;
  /** Text tokens of each image's pairs, (N). */
  tokens: Float64Array;
  /** The distinct texts to be matched with image i, ascending (so shortest first). */
  textsOf(image: number): Int32Array;
  /** Slots of `textToImage` that name image i. */
  slotsOf(image: number): Int32Array;
}

/** Turns the candidates into lists by image; `lengths` are the distinct texts' in tokens. */
export function pairsByImage(candidates: Candidates, lengths: Int32Array): ImagePairs {
  const { images, uniqueTexts, imageToText, textToImage, rowOf } = candidates;
  // Slots of textToImage in order of the image they name (a counting sort).
  const starts = new Int32Array(images + 1);
  for (const image of textToImage.index) starts[image + 1] = (starts[image + 1] ?? 0) + 1;
  for (let i = 0; i < images; i++) starts[i + 1] = (starts[i + 1] ?? 0) + (starts[i] ?? 0);
  const slots = new Int32Array(textToImage.index.length);
  const next = starts.slice();
  textToImage.index.forEach((image, slot) => {
    const at = next[image] ?? 0;
    slots[at] = slot;
    next[image] = at + 1;
  });
  const slotsOf = (image: number) => slots.subarray(starts[image], starts[image + 1]);

  const stamp = new Int32Array(uniqueTexts); // of the last call that listed the text
  let calls = 0;
  const textsOf = (image: number): Int32Array => {
    calls++;
    const texts: number[] = [];
    const want = (text: number) => {
      if (stamp[text] === calls) return;
      stamp[text] = calls;
      texts.push(text);
    };
    for (let s = 0; s < imageToText.k; s++) want(rowOf[imageToText.index[image * imageToText.k + s] ?? 0] ?? 0);
    for (const slot of slotsOf(image)) want(Math.floor(slot / textToImage.k));
    return Int32Array.from(texts).sort();
  };
  let total = 0;
  const tokens = new Float64Array(images);
  for (let image = 0; image < images; image++) {
    const texts = textsOf(image);
    total += texts.length;
    tokens[image] = texts.reduce((sum, text) => sum + (lengths[text] ?? 0), 0);
  }
  return { total, tokens, slotsOf, textsOf };
}
