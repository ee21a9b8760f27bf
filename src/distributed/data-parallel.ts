// Data parallel training: every rank has the whole model and a part of the batch, and gradients are averaged over the
// ranks while the backward pass still runs. c10d's Reducer does it, which is what DistributedDataParallel is made of,
// so a Python rank with DistributedDataParallel (broadcast_buffers=False) can train in the same group.
import { native } from '../torch/native.js';
import type { Tensor } from '../torch/tensor.js';

const MIB = 2 ** 20;

/** What a process group gives to the exchange of gradients. */
interface Group {
  readonly id: number;
  run<T>(operation: string, body: () => T): T;
}

/** How the ranks of a run agree on gradients; one rank has nobody to agree with. */
export interface GradientSync {
  /** Before a forward pass whose gradients all ranks share. */
  beforeForward(): void;
  /** Runs the backward pass. With `average`, each gradient becomes the mean over all ranks. */
  backward(body: () => void, average: boolean): void;
  /** Ends the averaging; the parameters stay. */
  dispose(): void;
}

export const noSync: GradientSync = { beforeForward: () => {}, backward: (body) => body(), dispose: () => {} };

/**
 * The averaging of the gradients of `parameters`.
 *
 *     const sync = new DataParallel(parameters, buffers, group);
 *     sync.beforeForward();
 *     …                                        // forward
 *     sync.backward(() => loss.backward(), true);   // each parameter's gradient must come exactly once
 *
 * A pass without `beforeForward` and `average` adds to this rank's gradients alone; they are averaged with the next pass
 * that has both.
 */
export class DataParallel implements GradientSync {
  readonly #group: Group;
  readonly #reducer: number;

  /**
   * Gives all ranks rank 0's values of parameters and buffers, once. Parameters must be the same, in the same order, on
   * all ranks, and all take part in every backward pass; gradients are then views of buckets of about `bucketMiB`.
   */
  constructor(
    parameters: readonly Tensor[],
    buffers: readonly Tensor[],
    group: Group,
    options: { bucketMiB?: number } = {},
  ) {
    const handles = (tensors: readonly Tensor[]) => tensors.map(({ handle }) => handle);
    const bucketBytes = Math.round((options.bucketMiB ?? 25) * MIB);
    this.#group = group;
    this.#reducer = group.run('the first exchange of parameters', () =>
      native().createReducer(group.id, handles(parameters), handles(buffers), bucketBytes),
    );
  }

  beforeForward(): void {
    this.#group.run('the exchange of buckets', () => native().reducerForward(this.#reducer));
  }

  backward(body: () => void, average: boolean): void {
    if (!average) {
      body();
      return;
    }
    native().reducerBackward(this.#reducer);
    this.#group.run('the backward pass', body);
  }

  dispose(): void {
    native().destroyReducer(this.#reducer);
  }
}
