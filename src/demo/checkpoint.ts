// A checkpoint of a model that nobody has trained: the initial weights of the reference, drawn from a seed.
import { type ArchitectureConfig, architectureOf } from '../model/architecture.js';
import { initialValue, inputsOf } from '../model/initialize.js';
import { stateDictEntries } from '../model/state-dict.js';
import { type WritableTensor, writeCheckpoint } from '../torch/checkpoint/index.js';
import { manualSeed } from '../torch/generator.js';
import { scope } from '../torch/tensor.js';

const MOMENTUM = /^((?:visual|text)_encoder|(?:vision|text)_proj)_m\./;

/**
 * Writes `{model: state dict}` with every entry of the model that `config` asks for. Momentum copies equal their online
 * twins, and share their bytes in the file. Equal seeds give equal weights.
 * @throws UserError when the file cannot be written
 */
export async function writeInitialCheckpoint(path: string, config: ArchitectureConfig, seed: number): Promise<void> {
  const entries = stateDictEntries(architectureOf(config));
  const inputs = inputsOf(entries);
  const model = new Map<string, WritableTensor>();
  manualSeed(seed);
  for (const entry of entries) {
    const [name, shape, dtype] = entry;
    const twin = MOMENTUM.test(name) ? model.get(name.replace(MOMENTUM, '$1.')) : undefined;
    const data = twin?.data ?? scope(() => initialValue(entry, inputs(name)).bytes());
    model.set(name, { dtype, shape, data });
  }
  await writeCheckpoint(path, { model });
}
