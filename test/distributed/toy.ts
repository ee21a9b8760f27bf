// A small model whose training one process and two, in Node and in Python (peer.py), must agree on.
import * as ops from '#blip/torch/ops.js';
import { keep, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';

export const ROWS = 3; // of each rank
const [INPUTS, HIDDEN] = [4, 8];
export const STEPS = 3;
const RATE = 0.1;

export interface Toy {
  first: Tensor; // (INPUTS, HIDDEN)
  second: Tensor; // (HIDDEN, 1)
}

/** Weights that differ from rank to rank until they are exchanged. */
export function toyWeights(rank: number): Toy {
  const weight = (rows: number, columns: number, factor: number) => {
    const values = Array.from({ length: rows * columns }, (_, i) => ((i * factor + rank * 3) % 13) / 13 - 0.5);
    const tensor = keep(ops.float32(values, [rows, columns]));
    tensor.requiresGrad = true;
    return tensor;
  };
  return { first: weight(INPUTS, HIDDEN, 5), second: weight(HIDDEN, 1, 7) };
}

/** Rows of the batch of both ranks together: of step `step`, from row `from` to `to`. */
export function toyInput(step: number, from: number, to: number): Tensor {
  const values: number[] = [];
  for (let row = from; row < to; row++)
    for (let column = 0; column < INPUTS; column++) values.push(((row * 7 + column * 3 + step * 5) % 11) / 11);
  return ops.float32(values, [to - from, INPUTS]);
}

/** The loss's backward pass in two phases, as recomputed blocks have it: first the second weight's, then the first's. */
export function toyForward(toy: Toy, input: Tensor): { backward: () => void } {
  const hidden = ops.matmul(input, toy.first);
  const leaf = ops.detach(hidden);
  leaf.requiresGrad = true;
  const output = ops.matmul(ops.gelu(leaf), toy.second);
  const loss = ops.mean(ops.mul(output, output));
  return {
    backward: () => {
      loss.backward();
      ops.backward(hidden, leaf.grad as Tensor);
    },
  };
}

export function toyUpdate(toy: Toy): void {
  noGrad(() =>
    scope(() => {
      for (const weight of [toy.first, toy.second]) {
        ops.addInPlace(weight, ops.mul(weight.grad as Tensor, -RATE));
        weight.clearGrad();
      }
    }),
  );
}

export function toyNumbers(toy: Toy): number[] {
  return [...toy.first.float32(), ...toy.second.float32()];
}

/** The weights after training on the whole batch in one process, from rank 0's. */
export function toyAlone(): number[] {
  const toy = toyWeights(0);
  for (let step = 0; step < STEPS; step++) {
    toyForward(toy, toyInput(step, 0, 2 * ROWS)).backward();
    toyUpdate(toy);
  }
  return toyNumbers(toy);
}
