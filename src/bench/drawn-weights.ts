// Weights drawn by a rule instead of read from a checkpoint: every LibTorch draws the same ones, so that measurements and
// tests at the published sizes need no download. The rule is that of the reference fixtures (make_full_size.py).
import { writeModel } from '../demo/checkpoint.js';
import { get } from '../errors.js';
import { type ArchitectureConfig, architectureOf } from '../model/architecture.js';
import { initialValue } from '../model/initialize.js';
import { momentumTwin, type StateDictEntry, stateDictEntries } from '../model/state-dict.js';
import { manualSeed } from '../torch/generator.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { ModelSizes } from './protocol.js';

export const configOf = ({ vit, image_size, queue_size }: ModelSizes): ArchitectureConfig => ({
  vit,
  imageSize: image_size,
  queueSize: queue_size,
  medConfig: {},
});

/** Entries that are as at the start of training. */
const INITIAL = /^(temp|image_queue|text_queue|idx_queue|ptr_queue)$|position_ids$/;

/** StateDictEntry n of a state dict: normalisation weights 1 + 0.1·randn, biases 0.02·randn, everything else `scale`·randn. */
function drawn(entry: StateDictEntry, n: number, scale: number): Tensor {
  const [name, shape] = entry;
  manualSeed(n);
  if (INITIAL.test(name)) return initialValue(entry, 1);
  return scope(() => {
    const noise = ops.randn(shape);
    if (/norm\d?\.weight$/i.test(name)) return ops.add(ops.mul(noise, 0.1), 1);
    return ops.mul(noise, name.endsWith('.bias') ? 0.02 : scale);
  });
}

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
    chosen.map((entry) => [entry[0], drawn(entry, get(indexOf, momentumTwin(entry[0]) ?? entry[0]), scale)]),
  );
}

/**
 * Writes `{model: state dict}` with every entry of the published model, which the reference loads too.
 * @throws UserError when the file cannot be written
 */
export async function writeDrawnCheckpoint(path: string, config: ArchitectureConfig): Promise<void> {
  const architecture = architectureOf(config);
  // A narrow model needs wider weights for the same spread of scores.
  const scale = architecture.vision.width < 256 ? 0.15 : 0.04;
  await writeModel(path, stateDictEntries(architecture), (entry, n) => drawn(entry, n, scale));
}
