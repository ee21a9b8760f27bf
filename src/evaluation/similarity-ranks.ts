// Where the right answers stand when similarity alone decides (ITC), among all candidates and not only the k_test best.
// Shapes: N images, M texts of which U are distinct, E feature width; Q queries of one direction, C candidates.
import { at } from '../errors.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import { Reading, upload } from '../torch/transfer.js';

/** Which texts belong to which image. */
export interface Truth {
  /** (M) the image of each text. */
  txt2img: Int32Array;
  /** (N) the texts of each image. */
  img2txt: readonly (readonly number[])[];
}

/** Ranks of the best right answer, from 0; Infinity for an image without captions. */
export interface DirectionRanks {
  imageToText: Float64Array; // (N)
  textToImage: Float64Array; // (M)
}

/** Similarities of at most this many pairs are held at a time. */
const BLOCK = 1 << 22;

/**
 * Ranks by similarity. imageFeatures (N, E); textFeatures (U, E) of the distinct texts, `rowOf` (M) the row of each text.
 * Of equal similarities the higher index ranks first, as in the recalls (recall.ts). Waits for the device once a block.
 */
export function similarityRanks(
  imageFeatures: Tensor,
  textFeatures: Tensor,
  rowOf: Int32Array,
  { txt2img, img2txt }: Truth,
): DirectionRanks {
  return scope(() => {
    const { rows } = upload(imageFeatures.device, { rows: rowOf });
    const texts = ops.indexSelect(textFeatures, 0, rows); // (M, E)
    return {
      imageToText: ranksOf(imageFeatures, texts, img2txt),
      textToImage: ranksOf(
        texts,
        imageFeatures,
        Array.from(txt2img, (image) => [image]),
      ),
    };
  });
}

/** For each of `queries` (Q, E) the rank of the best of its targets among `candidates` (C, E). */
function ranksOf(queries: Tensor, candidates: Tensor, targets: readonly (readonly number[])[]): Float64Array {
  const ranks = new Float64Array(targets.length);
  const count = candidates.size(0);
  const rows = Math.max(1, Math.floor(BLOCK / count));
  const places = ops.arange(count, { device: queries.device }); // (C)
  for (let from = 0; from < targets.length; from += rows) {
    const own = targets.slice(from, from + rows);
    const before = scope(() => {
      const similarities = ops.matmul(
        ops.slice(queries, 0, from, from + own.length),
        ops.transpose(candidates, 0, 1), // (b, C)
      );
      const { wanted } = upload(queries.device, { wanted: padded(own) }); // (b, T)
      const found = ops.gather(similarities, 1, wanted);
      const best = ops.amax(found, 1); // (b, 1)
      // Of several targets with the best similarity the last ranks first.
      const place = ops.amax(ops.where(ops.equal(found, best), wanted, ops.full([1], -1, int64On(queries))), 1);
      const higher = ops.sumDim(ops.greater(similarities, best), 1); // (b)
      const tied = ops.mul(ops.equal(similarities, best), ops.greater(places, place));
      return new Reading([ops.to(ops.add(higher, ops.sumDim(tied, 1)), { dtype: 'int32' })]);
    });
    const values = new Int32Array(at(before.finish(), 0).buffer);
    for (const [i, value] of values.entries())
      ranks[from + i] = at(own, i).length > 0 ? value : Number.POSITIVE_INFINITY;
  }
  return ranks;
}

const int64On = ({ device }: Tensor) => ({ dtype: 'int64', device }) as const;

/** Lists of different lengths as one table: each is filled up with its first entry, an empty one with 0. */
function padded(lists: readonly (readonly number[])[]): { data: BigInt64Array; shape: readonly number[] } {
  const longest = Math.max(1, ...lists.map((list) => list.length));
  const data = new BigInt64Array(lists.length * longest);
  for (const [i, list] of lists.entries())
    for (let j = 0; j < longest; j++) data[i * longest + j] = BigInt(list[j] ?? list[0] ?? 0);
  return { data, shape: [lists.length, longest] };
}
