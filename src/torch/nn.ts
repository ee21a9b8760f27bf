// The few neural network modules that the models need, made from named weights.
import { get } from '../errors.js';
import * as ops from './ops.js';
import type { Tensor } from './tensor.js';

/** Weights by their names in PyTorch's state dict. */
export type StateDict = Pick<ReadonlyMap<string, Tensor>, 'get'>;

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

  /**
   * The layers of these names as one, their outputs side by side, for inference alone: its weight is laid out as the
   * device's kernels read it. Frees the weights in `state`.
   */
  static frozen(state: StateDict, ...prefixes: readonly string[]): Linear {
    const layers = prefixes.map((prefix) => Linear.of(state, prefix));
    const [only] = layers;
    const merged = layers.length > 1 || only === undefined;
    const whole = merged ? ops.cat(layers.map((layer) => layer.weight)) : only.weight;
    const bias = merged ? ops.cat(layers.map((layer) => layer.bias)) : only.bias;
    if (merged) for (const layer of layers) for (const tensor of [layer.weight, layer.bias]) tensor.dispose();
    const packed = ops.packLinear(whole);
    whole.dispose();
    return new Linear(packed, bias);
  }

  forward(x: Tensor, after?: ops.AfterLinear): Tensor {
    return ops.linear(x, this.weight, this.bias, after);
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
