// Data parallel training: every rank has the whole model and a part of the batch, and gradients are averaged over the
// ranks while the backward pass still runs. c10d's Reducer does it, which is what DistributedDataParallel is made of,
// so a Python rank with DistributedDataParallel (broadcast_buffers=False) can train in the same group.
import { native } from '../torch/native.js';
import type { Tensor } from '../torch/tensor.js';
import type { ProcessGroup } from './process-group.js';

const MIB = 2 ** 20;

/**
 * The averaging of the gradients of `parameters`.
 *
 *     const parallel = new DataParallel(parameters, buffers, group);
 *     parallel.beginStep();       // before the forward pass
 *     …                           // forward
 *     parallel.beginBackward();   // after it
 *     loss.backward();            // in one call or several; each parameter's gradient must come exactly once
 *
 * A pass without the two calls adds to this rank's gradients alone, and is averaged with the next one that has them.
 */
export class DataParallel {
  readonly #group: ProcessGroup;
  readonly #reducer: number;

  /**
   * Gives all ranks rank 0's values of parameters and buffers, once. Parameters must be the same, in the same order, on
   * all ranks, and all take part in every backward pass; gradients are then views of buckets of about `bucketMiB`.
   */
  constructor(
    parameters: readonly Tensor[],
    buffers: readonly Tensor[],
    group: ProcessGroup,
    options: { bucketMiB?: number } = {},
  ) {
    const handles = (tensors: readonly Tensor[]) => tensors.map(({ handle }) => handle);
    const bucketBytes = Math.round((options.bucketMiB ?? 25) * MIB);
    this.#group = group;
    this.#reducer = group.run('the first exchange of parameters', () =>
      native().createReducer(group.id, handles(parameters), handles(buffers), bucketBytes),
    );
  }

  /** Before a forward pass whose gradients all ranks share. */
  beginStep(): void {
    this.#group.run('the exchange of buckets', () => native().reducerForward(this.#reducer));
  }

  /** After the forward pass, before the backward pass. */
  beginBackward(): void {
    native().reducerBackward(this.#reducer);
  }

  /** Runs the backward pass, and says so in a sentence when another rank is lost in it. */
  backward(body: () => void): void {
    this.beginBackward();
    this.#group.run('the backward pass', body);
  }

  /** Ends the averaging; the parameters stay. */
  dispose(): void {
    native().destroyReducer(this.#reducer);
  }
}
