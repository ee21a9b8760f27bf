// Which image–text pairs are re-ranked: for each image its k best texts, for each text its k best images, by similarity.
// Shapes: N images, M texts of which U are distinct, E feature width.
import { at } from '../errors.js';
import { membersByGroup, range } from '../model/offsets.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import { Reading, upload } from '../torch/transfer.js';

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
 * For each row of `queries` (Q, E) the k rows of `candidates` (C, E) of the greatest inner product. With `columns`,
 * `columns[j]` is the candidate of column j, and columns are chosen: equal texts share one candidate. Waits for the device
 * once a block.
 */
function topK(queries: Tensor, candidates: Tensor, k: number, columns?: Int32Array): TopK {
  const count = queries.size(0);
  const result: TopK = { queries: count, k, index: new Int32Array(count * k), similarity: new Float32Array(count * k) };
  const rows = Math.max(1, Math.floor(BLOCK / Math.max(1, columns?.length ?? candidates.size(0))));
  scope(() => {
    const columnIndex = columns && upload(queries.device, { columns }).columns;
    for (let from = 0; from < count; from += rows)
      scope(() => {
        const block = ops.slice(queries, 0, from, Math.min(count, from + rows));
        const similarities = ops.matmul(block, ops.transpose(candidates, 0, 1));
        const [values, indices] = ops.topk(
          columnIndex ? ops.indexSelect(similarities, 1, columnIndex) : similarities,
          k,
        );
        const found = new Reading([values, ops.to(indices, { dtype: 'int32' })]).finish();
        result.similarity.set(new Float32Array(at(found, 0).buffer), from * k);
        result.index.set(new Int32Array(at(found, 1).buffer), from * k);
      });
  });
  return result;
}

/** The candidates of a split in both directions. */
export interface Candidates {
  images: number; // N
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
  /** Distinct text of each of image i's slots of `imageToText`, (k). */
  ownTexts(image: number): Int32Array;
  /** Slots of `textToImage` that name image i. */
  slotsOf(image: number): Int32Array;
}

/** Turns the candidates into lists by image; `lengths` are the distinct texts' in tokens. */
export function pairsByImage(candidates: Candidates, lengths: Int32Array): ImagePairs {
  const { images, imageToText, textToImage, rowOf } = candidates;
  const slotsByImage = membersByGroup(textToImage.index, images);
  const slotsOf = (image: number) => at(slotsByImage, image);
  const ownTexts = (image: number) => {
    const texts = imageToText.index.subarray(image * imageToText.k, (image + 1) * imageToText.k);
    return texts.map((text) => at(rowOf, text));
  };
  const listedIn = new Int32Array(lengths.length); // the last call that listed the text
  let call = 0;
  const textsOf = (image: number) => {
    call++;
    const isNew = (text: number) => {
      if (listedIn[text] === call) return false;
      listedIn[text] = call;
      return true;
    };
    const [own, slots] = [ownTexts(image), slotsOf(image)];
    const wanted = new Int32Array(own.length + slots.length);
    wanted.set(own);
    wanted.set(
      slots.map((slot) => Math.floor(slot / textToImage.k)),
      own.length,
    );
    return wanted.filter(isNew).sort();
  };
  let total = 0;
  const tokens = Float64Array.from(range(0, images), (image) => {
    const texts = textsOf(image);
    total += texts.length;
    return texts.reduce((sum, text) => sum + at(lengths, text), 0);
  });
  return { total, tokens, ownTexts, slotsOf, textsOf };
}
