// Weights from a rule instead of a checkpoint; every LibTorch draws the same ones, so that tests and benchmarks at the
// published sizes need no download. The rule is the reference fixtures' own (make_full_size.py).
import { manualSeed } from '../torch/generator.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { StateDictEntry } from './state-dict.js';

/**
 * The tensors of `entries` that `wanted` chooses, on the CPU. StateDictEntry k is drawn after manualSeed(k): normalisation
 * weights 1 + 0.1·randn, biases 0.02·randn, queues unit columns, everything else `scale`·randn; a momentum copy is its
 * online twin. Changes the default generator's state.
 */
export function ruleWeights(
  entries: readonly StateDictEntry[],
  options: { scale?: number; wanted?: (name: string) => boolean } = {},
): Map<string, Tensor> {
  const { scale = 0.04, wanted = () => true } = options;
  const seedOf = new Map(entries.map(([name], k) => [name, k]));
  const state = new Map<string, Tensor>();
  for (const [name, shape] of entries) {
    if (!wanted(name)) continue;
    const twin = name.replace('encoder_m.', 'encoder.').replace('proj_m.', 'proj.');
    const draw = () => {
      manualSeed(seedOf.get(twin) ?? 0);
      return ops.randn(shape);
    };
    state.set(
      name,
      scope(() => {
        if (name.endsWith('position_ids')) return ops.reshape(ops.arange(shape.at(-1) ?? 0), shape);
        if (name === 'ptr_queue') return ops.zeros(shape, { dtype: 'int64' });
        if (name === 'idx_queue') return ops.full(shape, -100, { dtype: 'int64' });
        if (name === 'temp') return ops.full(shape, 0.07);
        if (name === 'image_queue' || name === 'text_queue') return ops.normalize(draw(), 0);
        if (/norm/i.test(name) && name.endsWith('weight')) return ops.add(ops.mul(draw(), 0.1), 1);
        return ops.mul(draw(), name.endsWith('bias') ? 0.02 : scale);
      }),
    );
  }
  return state;
}
