// The ranks of a run and what they exchange, in one interface; a run of one process is a run of one rank.
import type { Tensor } from '../torch/tensor.js';
import { type GradientSync, noSync } from './data-parallel.js';

/**
 * What model, evaluation and training ask of the other ranks; all must make the same calls in the same order. With tensors
 * on the CPU a call blocks until this rank's part is done; with tensors on a GPU it is queued, and whoever reads the result
 * waits. `oneRank` gives back what it is given: no copy, no wait.
 */
export interface Ranks {
  readonly rank: number;
  readonly worldSize: number;
  /** (n, …) of every rank → (worldSize · n, …) in rank order, without gradient. Shapes must be equal on all ranks. */
  allGather(x: Tensor): Tensor;
  /** As `allGather`; the gradient of this rank's rows is the sum of what all ranks have for them. */
  allGatherWithGradient(x: Tensor): Tensor;
  /** (n_r, …) of every rank r → (Σ n_r, …) in rank order; a rank may have none. */
  gatherRows(x: Tensor): Tensor;
  /**
   * Token rows of every rank, in rank order, in one exchange: all ranks must have equally many, none longer than
   * `maxLength`, which must be the same on all ranks.
   */
  gatherTexts(texts: readonly Int32Array[], maxLength: number): readonly Int32Array[];
  /** Bytes of any length, of every rank, in rank order. */
  gatherBytes(bytes: Uint8Array): Uint8Array[];
  /** A value that JSON can hold, of every rank, in rank order. It must not hold what JSON has no form for (NaN). */
  gatherValues<T>(value: T): T[];
  /** x becomes rank 0's x. */
  broadcast(x: Tensor): void;
  /** The sums over all ranks, element by element. */
  sum(values: Float32Array): Float32Array;
  /** Whether any rank says so. */
  any(flag: boolean): boolean;
  /** Gives all ranks rank 0's parameters and buffers, and averages the parameters' gradients from then on. */
  syncGradients(parameters: readonly Tensor[], buffers: readonly Tensor[]): GradientSync;
  /**
   * Ends the exchange, after all ranks have come here (or `patienceMs` is over): a rank that left earlier would cut off
   * what another still receives. Every rank calls this before it ends its process, but not after a failure.
   */
  destroy(patienceMs?: number): void;
}

export const oneRank: Ranks = {
  rank: 0,
  worldSize: 1,
  allGather: (x) => x,
  allGatherWithGradient: (x) => x,
  gatherRows: (x) => x,
  gatherTexts: (texts) => texts,
  gatherBytes: (bytes) => [bytes],
  gatherValues: (value) => [value],
  broadcast: () => {},
  sum: (values) => values,
  any: (flag) => flag,
  syncGradients: () => noSync,
  destroy: () => {},
};
