// A checkpoint for a measurement without one: weights drawn by a rule, spread so that scores differ from pair to pair.
import { type ArchitectureConfig, architectureOf } from '../model/architecture.js';
import { initialValue } from '../model/initialize.js';
import { type StateDictEntry, stateDictEntries } from '../model/state-dict.js';
import { type WritableTensor, writeCheckpoint } from '../torch/checkpoint/index.js';
import { manualSeed } from '../torch/generator.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { DrawSetting } from './protocol.js';

/** The architecture that a measurement's flags ask for. */
export const configOf = ({ vit, image_size, queue_size }: Omit<DrawSetting, 'checkpoint'>): ArchitectureConfig => ({
  vit,
  imageSize: image_size,
  queueSize: queue_size,
  medConfig: {},
});

/** Entries that stay as they are at the start of training. */
const CONSTANT = /^(temp|image_queue|text_queue|idx_queue|ptr_queue)$|position_ids$/;
const MOMENTUM = /^((?:visual|text)_encoder|(?:vision|text)_proj)_m\./;

/**
 * Writes `{model: state dict}` with every entry of the published model, which the reference loads too. StateDictEntry n is drawn
 * after manualSeed(n); momentum copies equal their online twins and share their bytes.
 * @throws UserError when the file cannot be written
 */
export async function writeDrawnCheckpoint(path: string, config: ArchitectureConfig): Promise<void> {
  const architecture = architectureOf(config);
  // A narrow model needs wider weights for the same spread of scores.
  const scale = architecture.vision.width < 256 ? 0.15 : 0.04;
  const model = new Map<string, WritableTensor>();
  for (const [n, entry] of stateDictEntries(architecture).entries()) {
    const [name, shape, dtype] = entry;
    const twin = MOMENTUM.test(name) ? model.get(name.replace(MOMENTUM, '$1.')) : undefined;
    manualSeed(n);
    const data =
      twin?.data ?? scope(() => (CONSTANT.test(name) ? initialValue(entry, 1) : drawn(entry, scale)).bytes());
    model.set(name, { dtype, shape, data });
  }
  await writeCheckpoint(path, { model });
}

function drawn([name, shape]: StateDictEntry, scale: number): Tensor {
  const noise = ops.randn(shape);
  if (/norm\d?\.weight$/i.test(name)) return ops.add(ops.mul(noise, 0.1), 1);
  return ops.mul(noise, name.endsWith('.bias') ? 0.02 : scale);
}
