// Weights drawn by a rule instead of read from a checkpoint: every LibTorch draws the same ones, so that measurements and
// tests at the published sizes need no download. The rule is that of the reference fixtures (make_full_size.py).
import { writeModel } from '../demo/checkpoint.js';
import { type Architecture, architectureOf } from '../model/architecture.js';
import { initialValue } from '../model/initialize.js';
import { momentumTwin, type StateDictEntry, stateDictEntries } from '../model/state-dict.js';
import { manualSeed } from '../torch/generator.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { ModelSizes } from './protocol.js';

export function architectureFor({ vit, image_size, queue_size }: ModelSizes): Architecture {
  return architectureOf({ vit, imageSize: image_size, queueSize: queue_size, medConfig: {} });
}

/** Entries with their initial values, as a new model has them. */
const INITIAL = /^(temp|image_queue|text_queue|idx_queue|ptr_queue)$|position_ids$/;

/** Entry n of a state dict: normalisation weights 1 + 0.1·randn, biases 0.02·randn, everything else `scale`·randn. */
export function drawnValue(entry: StateDictEntry, n: number, scale: number): Tensor {
  const [name, shape] = entry;
  manualSeed(n);
  if (INITIAL.test(name)) return initialValue(entry, 1);
  return scope(() => {
    const noise = ops.randn(shape);
    if (/norm\d?\.weight$/i.test(name)) return ops.add(ops.mul(noise, 0.1), 1);
    return ops.mul(noise, name.endsWith('.bias') ? 0.02 : scale);
  });
}

// A narrow model needs wider weights for the same spread of scores.
const scaleOf = ({ vision }: Architecture) => (vision.width < 256 ? 0.15 : 0.04);

/** The entries of the published model that `wanted` chooses, in memory; a momentum copy is its online twin. */
export function drawnState(architecture: Architecture, wanted: (name: string) => boolean): Map<string, Tensor> {
  const state = new Map<string, Tensor>();
  for (const [n, entry] of stateDictEntries(architecture).entries()) {
    const [name] = entry;
    if (!wanted(name)) continue;
    const twin = state.get(momentumTwin(name) ?? '');
    state.set(name, twin ?? drawnValue(entry, n, scaleOf(architecture)));
  }
  return state;
}

/**
 * Writes `{model: state dict}` with every entry of the published model, which the reference loads too.
 * @throws UserError when the file cannot be written
 */
export async function writeDrawnCheckpoint(path: string, sizes: ModelSizes): Promise<void> {
  const architecture = architectureFor(sizes);
  const scale = scaleOf(architecture);
  await writeModel(path, stateDictEntries(architecture), (entry, n) => drawnValue(entry, n, scale));
}
