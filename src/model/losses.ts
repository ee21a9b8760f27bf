// The two losses of retrieval training: image–text contrastive (ITA) with momentum targets, and matching (ITM).
// Source: BLIP_Retrieval.forward; ALBEF (arXiv 2107.07651) sections 3.2 and 3.3.
// Shapes: B batch, N = B + queue, E feature width.
import * as ops from '../torch/ops.js';
import { noGrad, scope, type Tensor } from '../torch/tensor.js';

/** Features of one batch against [momentum features of the batch, queue]. */
export interface ContrastiveInput {
  imageFeatures: Tensor; // (B, E) online, unit length
  textFeatures: Tensor; // (B, E)
  imageMomentum: Tensor; // (B, E)
  textMomentum: Tensor; // (B, E)
  allImages: Tensor; // (E, N): momentum features of the batch, then the queue
  allTexts: Tensor; // (E, N)
  idx: Tensor; // int64 (B): number of each row's image
  allIdx: Tensor; // int64 (1, N)
  temperature: Tensor; // []
  /** Share of the momentum model's soft targets, 0 to 1. */
  alpha: number;
}

/** Mean of the image-to-text and text-to-image cross-entropies against soft targets. */
export function contrastiveLoss(input: ContrastiveInput): Tensor {
  const { allImages, allTexts, temperature, alpha } = input;
  return scope(() => {
    const targets = noGrad(() =>
      scope(() => {
        const same = ops.to(ops.equal(ops.reshape(input.idx, [-1, 1]), input.allIdx), { dtype: 'float32' }); // (B, N)
        const hard = ops.mul(ops.div(same, ops.sumDim(same, 1, true)), 1 - alpha);
        const soft = (features: Tensor, all: Tensor) =>
          ops.add(ops.mul(ops.softmax(ops.div(ops.matmul(features, all), temperature), 1), alpha), hard);
        return { i2t: soft(input.imageMomentum, allTexts), t2i: soft(input.textMomentum, allImages) };
      }),
    );
    const loss = (features: Tensor, all: Tensor, target: Tensor) => {
      const similarity = ops.div(ops.matmul(features, all), temperature); // (B, N)
      return ops.neg(ops.mean(ops.sumDim(ops.mul(ops.logSoftmax(similarity, 1), target), 1)));
    };
    const i2t = loss(input.imageFeatures, allTexts, targets.i2t);
    const t2i = loss(input.textFeatures, allImages, targets.t2i);
    return ops.div(ops.add(i2t, t2i), 2);
  });
}

/** Mean cross-entropy of match logits (n, 2) against labels int64 (n): 1 where image and text belong together, else 0. */
export function matchingLoss(logits: Tensor, labels: Tensor): Tensor {
  return ops.crossEntropy(logits, labels);
}

/** The share of the rows of match logits (n, 2) whose larger one is that of the label: float32 []. */
export function matchAccuracy(logits: Tensor, labels: Tensor): Tensor {
  return scope(() => ops.mean(ops.to(ops.equal(ops.argmax(logits, 1), labels), { dtype: 'float32' })));
}
