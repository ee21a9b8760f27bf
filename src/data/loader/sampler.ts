// Which rows of the training set a rank takes in an epoch, and in which order: PyTorch's DistributedSampler and a
// DataLoader that drops its last short batch.
import { UserError } from '../../errors.js';
import { Generator } from '../../torch/generator.js';
import { operator } from '../../torch/operator.js';

const randperm = operator('aten::randperm.generator');

export interface TrainingSamplerOptions {
  /** Rows of the training set. */
  length: number;
  /** Number of ranks. */
  world: number;
  rank: number;
  /** Rows of a batch on one rank. */
  batchSize: number;
  /** The reference keeps 0, whatever its --seed. */
  seed?: number;
}

/** The shuffled order of an epoch; each rank takes every world-th row of it. */
export class TrainingSampler {
  /** Rows that each rank takes in an epoch, the short last batch included. */
  readonly samples: number;
  readonly #options: Required<TrainingSamplerOptions>;

  /** @throws UserError when the rows of a rank do not fill one batch */
  constructor(options: TrainingSamplerOptions) {
    const { length, world, rank, batchSize, seed = 0 } = options;
    for (const [name, value, least] of [
      ['length', length, 0],
      ['world', world, 1],
      ['rank', rank, 0],
      ['batchSize', batchSize, 1],
    ] as const) {
      if (!Number.isSafeInteger(value) || value < least)
        throw new RangeError(`TrainingSampler: ${name} must be a whole number, ${least} or more`);
    }
    if (rank >= world) throw new RangeError(`TrainingSampler: rank ${rank} is not below world ${world}`);
    this.#options = { length, world, rank, batchSize, seed };
    this.samples = Math.ceil(length / world);
    if (this.samples < batchSize) {
      const share = world === 1 ? '' : `, which is ${this.samples} for each of ${world} ranks`;
      throw new UserError(
        `The training set has ${length} rows${share}: fewer than one batch of ${batchSize}; lower batch_size_train to ${Math.max(1, this.samples)} or less, or give more rows.`,
      );
    }
  }

  /** Full batches of an epoch. */
  get batches(): number {
    return Math.floor(this.samples / this.#options.batchSize);
  }

  /** Place, in the order over all ranks, of the first row of a batch; the next of its rows is `world` places on. */
  place(batch: number): number {
    const { world, rank, batchSize } = this.#options;
    return batch * batchSize * world + rank;
  }

  /** Places from one row of this rank to the next. */
  get world(): number {
    return this.#options.world;
  }

  get batchSize(): number {
    return this.#options.batchSize;
  }

  /**
   * Rows of this rank's batches, batch after batch: (batches * batchSize). Where the ranks do not divide the set, rows from the order's beginning come once more.
   */
  order(epoch: number): Int32Array {
    const { length, world, rank, batchSize, seed } = this.#options;
    const shuffled = permutation(length, seed + epoch);
    return Int32Array.from({ length: this.batches * batchSize }, (_, i) =>
      Number(shuffled[(i * world + rank) % length]),
    );
  }
}

/** torch.randperm(length) with a CPU generator of that seed. */
function permutation(length: number, seed: number): BigInt64Array {
  const generator = Generator.create(seed);
  const drawn = randperm(length, generator);
  const order = new BigInt64Array(drawn.bytes().buffer);
  drawn.dispose();
  generator.dispose();
  return order;
}
