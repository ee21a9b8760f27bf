// Draws which rows of the training set a rank trains on in an epoch, and in which order: PyTorch's DistributedSampler
// and a DataLoader that drops its last short batch.
import { at, UserError } from '../../errors.js';
import { counted } from '../../logging/text.js';
import { Generator } from '../../torch/generator.js';
import { operator } from '../../torch/operator.js';

const randperm = operator('aten::randperm.generator');

export interface TrainingSamplerOptions {
  /** Rows of the training set. */
  length: number;
  /** Number of ranks. */
  worldSize: number;
  rank: number;
  /** Rows in a batch of one rank. */
  batchSize: number;
  /** 0 by default: the reference does not pass its --seed to the sampler. */
  seed?: number;
}

/** The shuffled order of an epoch; each rank takes every worldSize-th row of it. */
export class TrainingSampler {
  /** Rows of each rank in an epoch, the short last batch included. */
  readonly samples: number;
  readonly #options: Required<TrainingSamplerOptions>;

  /** @throws UserError when a rank has less than one batch */
  constructor(options: TrainingSamplerOptions) {
    const { length, worldSize, rank, batchSize, seed = 0 } = options;
    for (const [name, value, least] of [
      ['length', length, 0],
      ['worldSize', worldSize, 1],
      ['rank', rank, 0],
      ['batchSize', batchSize, 1],
    ] as const) {
      if (!Number.isSafeInteger(value) || value < least)
        throw new RangeError(`TrainingSampler: ${name} must be a whole number, ${least} or more.`);
    }
    if (rank >= worldSize) throw new RangeError(`TrainingSampler: rank ${rank} is not below worldSize ${worldSize}.`);
    this.#options = { length, worldSize, rank, batchSize, seed };
    this.samples = Math.ceil(length / worldSize);
    if (this.samples < batchSize) {
      const share = worldSize === 1 ? '' : `, which is ${this.samples} for each of ${counted(worldSize, 'rank')}`;
      throw new UserError(
        `The training set has ${counted(length, 'row')}${share}: fewer than one batch of ${batchSize}. Lower batch_size_train to ${Math.max(1, this.samples)} or less, or add rows.`,
      );
    }
  }

  /** Full batches of an epoch. */
  get batches(): number {
    return Math.floor(this.samples / this.#options.batchSize);
  }

  /** Position of a batch's first row in the order over all ranks; its next row comes `worldSize` positions later. */
  position(batch: number): number {
    const { worldSize, rank, batchSize } = this.#options;
    return batch * batchSize * worldSize + rank;
  }

  get worldSize(): number {
    return this.#options.worldSize;
  }

  get batchSize(): number {
    return this.#options.batchSize;
  }

  /**
   * Rows of this rank's batches, batch after batch: (batches * batchSize). Where the set's length is not a multiple of
   * worldSize, rows from the start of the order are repeated.
   */
  order(epoch: number): Int32Array {
    const { length, worldSize, rank, batchSize, seed } = this.#options;
    const shuffled = permutation(length, seed + epoch);
    const rows = new Int32Array(this.batches * batchSize);
    for (let i = 0; i < rows.length; i++) rows[i] = at(shuffled, 2 * ((i * worldSize + rank) % length));
    return rows;
  }
}

/** torch.randperm(length) with a CPU generator of that seed: int64, of which every second value is the lower half. */
function permutation(length: number, seed: number): Int32Array {
  const generator = Generator.create(seed);
  const drawn = randperm(length, generator);
  const order = new Int32Array(drawn.bytes().buffer);
  drawn.dispose();
  generator.dispose();
  return order;
}
