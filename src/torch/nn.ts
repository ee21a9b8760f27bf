// The few neural network modules that the models need, made from named weights.
import { get } from '../errors.js';
import * as ops from './ops.js';
import type { Tensor } from './tensor.js';

/** Weights by their names in PyTorch's state dict. */
export type StateDict = ReadonlyMap<string, Tensor>;

/** The weight called `name`. A missing one is a defect of the program: loading has checked the names before. */
export function weight(state: StateDict, name: string): Tensor {
  return get(state, name);
}

/** x·Wᵀ + b: (…, in) → (…, out). */
export class Linear {
  constructor(
    readonly weight: Tensor,
    readonly bias: Tensor,
  ) {}

  static of(state: StateDict, prefix: string): Linear {
    return new Linear(weight(state, `${prefix}.weight`), weight(state, `${prefix}.bias`));
  }

  /** Several linear layers of one input as one: their outputs side by side. Copies the weights. */
  static beside(layers: readonly Linear[]): Linear {
    return new Linear(ops.cat(layers.map((layer) => layer.weight)), ops.cat(layers.map((layer) => layer.bias)));
  }

  forward(x: Tensor): Tensor {
    return ops.linear(x, this.weight, this.bias);
  }
}

/** Normalisation over the last dimension, with scale and shift. */
export class LayerNorm {
  constructor(
    readonly weight: Tensor,
    readonly bias: Tensor,
    readonly eps: number,
  ) {}

  static of(state: StateDict, prefix: string, eps: number): LayerNorm {
    return new LayerNorm(weight(state, `${prefix}.weight`), weight(state, `${prefix}.bias`), eps);
  }

  forward(x: Tensor): Tensor {
    return ops.layerNorm(x, this.weight, this.bias, this.eps);
  }
}
