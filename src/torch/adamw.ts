// AdamW over all parameters in one fused call, with state that is PyTorch's.
import { operatorInPlace } from './operator.js';
import * as ops from './ops.js';
import { keep, noGrad, scope, type Tensor } from './tensor.js';

const fusedAdamW = operatorInPlace('aten::_fused_adamw_');
const foreachAddScalar = operatorInPlace('aten::_foreach_add_.Scalar');

/** The state of one parameter: Python's `state[i]` of an optimizer's state dict. */
export interface AdamWState {
  step: Tensor; // float32 []
  expAvg: Tensor; // as the parameter
  expAvgSq: Tensor; // as the parameter
}

/** Hyper-parameters as torch.optim.AdamW names and defaults them. */
export interface AdamWOptions {
  weightDecay: number;
  betas?: readonly [number, number];
  eps?: number;
}

/** Decoupled weight decay Adam (arXiv 1711.05101) with bias correction, as torch.optim.AdamW(fused=True). */
export class AdamW {
  readonly parameters: readonly Tensor[];
  readonly options: Required<AdamWOptions>;
  /** By position in `parameters`; empty before the parameter's first gradient, as in PyTorch. */
  readonly state = new Map<number, AdamWState>();

  constructor(parameters: readonly Tensor[], options: AdamWOptions) {
    this.parameters = parameters;
    this.options = { betas: [0.9, 0.999], eps: 1e-8, ...options };
  }

  #stateOf(index: number, parameter: Tensor): AdamWState {
    let state = this.state.get(index);
    if (state === undefined) {
      const like = () => keep(ops.zeros(parameter.shape, { device: parameter.device }));
      state = { step: keep(ops.zeros([], { device: parameter.device })), expAvg: like(), expAvgSq: like() };
      this.state.set(index, state);
    }
    return state;
  }

  /** One update of every parameter that has a gradient, with learning rate `lr`. */
  step(lr: number): void {
    noGrad(() =>
      scope(() => {
        const used = this.parameters
          .map((parameter, index) => ({ parameter, index, grad: parameter.grad }))
          .filter((entry): entry is { parameter: Tensor; index: number; grad: Tensor } => entry.grad !== null);
        if (used.length === 0) return;
        const states = used.map(({ index, parameter }) => this.#stateOf(index, parameter));
        const steps = states.map(({ step }) => step);
        foreachAddScalar(steps, 1); // one launch on a GPU, not one a parameter
        const [beta1, beta2] = this.options.betas;
        fusedAdamW(
          used.map(({ parameter }) => parameter),
          used.map(({ grad }) => grad),
          states.map(({ expAvg }) => expAvg),
          states.map(({ expAvgSq }) => expAvgSq),
          [],
          steps,
          lr,
          beta1,
          beta2,
          this.options.weightDecay,
          this.options.eps,
          false,
          false,
        );
      }),
    );
  }

  /** The 2-norm of the gradients of all parameters, float32 []. Reads each gradient once. */
  gradientNorm(): Tensor {
    return noGrad(() =>
      scope(() => {
        const gradients = this.parameters.map(({ grad }) => grad).filter((grad) => grad !== null);
        if (gradients.length > 0) return ops.normOfAll(gradients);
        return ops.zeros([], { device: this.parameters[0]?.device ?? 'cpu' });
      }),
    );
  }

  zeroGrad(): void {
    for (const parameter of this.parameters) parameter.clearGrad();
  }
}
