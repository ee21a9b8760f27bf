// The momentum queues: features of earlier batches that serve as further negatives, and the images they belong to.
// Shapes: E = 256 feature width, Q queue size, n new entries.
import * as ops from '../torch/ops.js';
import { noGrad, scope, type Tensor } from '../torch/tensor.js';

/** A ring buffer of the latest Q image features, text features and image numbers; the reference's four buffers. */
export class FeatureQueues {
  readonly size: number; // Q
  #pointer: number; // the host's copy: the tensor is only written, for checkpoints and other ranks

  /** images, texts: (E, Q) float32; idx: (1, Q) int64, -100 where empty; pointer: (1) int64. The tensors are changed in place. */
  constructor(
    readonly images: Tensor,
    readonly texts: Tensor,
    readonly idx: Tensor,
    readonly pointer: Tensor,
  ) {
    this.size = images.size(1);
    this.#pointer = pointer.item();
  }

  /**
   * Replaces the oldest entries by n new ones. imageFeatures, textFeatures: (n, E); idx: (n) int64. The queue's length
   * need not be a multiple of n: a batch may wrap, and of one longer than the queue the last Q entries stay.
   */
  enqueue(imageFeatures: Tensor, textFeatures: Tensor, idx: Tensor): void {
    noGrad(() =>
      scope(() => {
        const n = imageFeatures.size(0);
        for (let from = Math.max(0, n - this.size); from < n; ) {
          const at = (this.#pointer + from) % this.size;
          const count = Math.min(n - from, this.size - at);
          const put = (queue: Tensor, values: Tensor) => ops.copyInPlace(ops.slice(queue, 1, at, at + count), values);
          const rows = (x: Tensor) => ops.slice(x, 0, from, from + count);
          put(this.images, ops.transpose(rows(imageFeatures), 0, 1));
          put(this.texts, ops.transpose(rows(textFeatures), 0, 1));
          put(this.idx, ops.reshape(rows(idx), [1, count]));
          from += count;
        }
        this.#pointer = (this.#pointer + n) % this.size;
        ops.fillInPlace(this.pointer, this.#pointer);
      }),
    );
  }
}
