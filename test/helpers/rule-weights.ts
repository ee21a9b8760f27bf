// The weights of src/bench/drawn-weights.ts as tensors, for models without a checkpoint.
import { drawnValue } from '#blip/bench/drawn-weights.js';
import { get } from '#blip/errors.js';
import { momentumTwin, type StateDictEntry } from '#blip/model/state-dict.js';
import type { Tensor } from '#blip/torch/tensor.js';

/**
 * The tensors of `entries` that `wanted` chooses, on the CPU; a momentum copy is drawn as its online twin. Changes the
 * default generator's state.
 */
export function ruleWeights(
  entries: readonly StateDictEntry[],
  { scale = 0.04, wanted = () => true }: { scale?: number; wanted?: (name: string) => boolean } = {},
): Map<string, Tensor> {
  const indexOf = new Map(entries.map(([name], n) => [name, n]));
  const chosen = entries.filter(([name]) => wanted(name));
  return new Map(
    chosen.map((entry) => [entry[0], drawnValue(entry, get(indexOf, momentumTwin(entry[0]) ?? entry[0]), scale)]),
  );
}
