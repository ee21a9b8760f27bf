// Hard negatives for matching: for each text an image, for each image a text, likelier the more similar they are.
// Shapes: B rows of this rank's batch, W candidates (the same batch, or all ranks').
import * as ops from '../torch/ops.js';
import { noGrad, scope, type Tensor } from '../torch/tensor.js';

/** The candidate drawn for each row, or -1 where every candidate shows the same image. */
export interface Negatives {
  /** For each text the number of an image. */
  imageOfText: number[];
  /** For each image the number of a text. */
  textOfImage: number[];
}

export interface NegativeInput {
  imageFeatures: Tensor; // (B, E)
  textFeatures: Tensor; // (B, E)
  allImageFeatures: Tensor; // (W, E)
  allTextFeatures: Tensor; // (W, E)
  idx: Tensor; // int64 (B)
  allIdx: Tensor; // int64 (W)
  temperature: Tensor;
}

/** softmax(similarity / temperature), 0 where the candidate shows the row's image: (B, W). */
export function negativeWeights(features: Tensor, candidates: Tensor, input: NegativeInput): Tensor {
  return scope(() => {
    const similarity = ops.div(ops.matmul(features, ops.transpose(candidates, 0, 1)), input.temperature);
    const own = ops.equal(ops.reshape(input.idx, [-1, 1]), ops.reshape(input.allIdx, [1, -1]));
    return ops.maskedFill(ops.softmax(similarity, 1), own, 0);
  });
}

/** One draw for each row of both directions, in one call and one wait for the device. */
export function drawNegatives(input: NegativeInput): Negatives {
  return noGrad(() =>
    scope(() => {
      const weights = ops.cat([
        negativeWeights(input.textFeatures, input.allImageFeatures, input),
        negativeWeights(input.imageFeatures, input.allTextFeatures, input),
      ]); // (2B, W)
      const drawable = ops.greaterThan(ops.sumDim(weights, 1, true), 0); // (2B, 1): false for zeros, and for NaN
      // A row that cannot be drawn from draws from ones, and the draw is marked -1; NaN shows in the loss.
      const drawn = ops.multinomial(ops.where(drawable, weights, ops.full([], 1, { device: weights.device })));
      const marked = ops
        .where(drawable, drawn, ops.full([], -1, { dtype: 'int64', device: weights.device }))
        .integers();
      const rows = input.idx.numel;
      return { imageOfText: marked.slice(0, rows), textOfImage: marked.slice(rows) };
    }),
  );
}
