// Means and variances of what is random, and how far they are from recorded ones.
import assert from 'node:assert/strict';
import * as ops from '#blip/torch/ops.js';
import { keep, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';

/** Mean and variance of every element of a quantity, over `draws` independent draws. */
export interface Law {
  draws: number;
  /** Absent where only the variances were recorded. */
  mean?: Float64Array;
  sumOfVariances: number;
}

/** How one law differs from another. Both are near 1 where the laws are equal. */
export interface Difference {
  /** Squared distance of the means over what chance gives; undefined where one has no means. */
  distance: number | undefined;
  /** Sum of the variances over the other's. */
  variances: number;
}

export function differenceOf(law: Law, expected: Law): Difference {
  const { mean } = expected;
  assert.equal(law.mean?.length ?? 0, mean?.length ?? law.mean?.length ?? 0);
  const squared = mean && law.mean?.reduce((sum, value, i) => sum + (value - (mean[i] as number)) ** 2, 0);
  const chance = law.sumOfVariances / law.draws + expected.sumOfVariances / expected.draws;
  return {
    distance: squared === undefined ? undefined : squared / chance,
    variances: law.sumOfVariances / expected.sumOfVariances,
  };
}

const doubles = (x: Tensor) => new Float64Array(x.bytes().buffer);

/** Sums over draws, in float64 where the values are: the device waits for none of them. */
export class Moments {
  #sum: Tensor | undefined;
  #squares: Tensor | undefined;
  #draws = 0;

  /** x (n, …): n independent draws. */
  addRows(x: Tensor): void {
    noGrad(() =>
      scope(() => {
        const values = ops.reshape(ops.to(x, { dtype: 'float64' }), [x.size(0), -1]);
        const [sum, squares] = [ops.sumDim(values, 0), ops.sumDim(ops.mul(values, values), 0)];
        this.#draws += x.size(0);
        if (this.#sum && this.#squares) {
          ops.addInPlace(this.#sum, sum);
          ops.addInPlace(this.#squares, squares);
        } else [this.#sum, this.#squares] = [keep(sum), keep(squares)];
      }),
    );
  }

  /** x: one draw. */
  add(x: Tensor): void {
    scope(() => this.addRows(ops.reshape(ops.detach(x), [1, -1])));
  }

  /** Mean and variance of each element so far. */
  get elements(): { draws: number; mean: Float64Array; variance: Float64Array } {
    const draws = this.#draws;
    assert.ok(this.#sum && this.#squares && draws > 1, 'a variance takes two draws');
    const mean = doubles(this.#sum).map((value) => value / draws);
    const variance = doubles(this.#squares).map((value, i) => (value - draws * (mean[i] as number) ** 2) / (draws - 1));
    return { draws, mean, variance };
  }

  /** The law of the elements from `start` to before `end`; of all by default. */
  law(start?: number, end?: number): Law {
    return lawOf(this.elements, start, end);
  }

  dispose(): void {
    this.#sum?.dispose();
    this.#squares?.dispose();
  }
}

export function lawOf(
  { draws, mean, variance }: Moments['elements'],
  start = 0,
  end = mean.length,
): Law & { mean: Float64Array } {
  const sumOfVariances = variance.subarray(start, end).reduce((sum, value) => sum + value, 0);
  return { draws, mean: mean.subarray(start, end), sumOfVariances };
}
