// A checkpoint of an untrained model: the initial weights of the reference, drawn from a seed.
import { get } from '../errors.js';
import { type ArchitectureConfig, architectureOf } from '../model/architecture.js';
import { initialValue, inputsOf } from '../model/initialize.js';
import { momentumTwin, type StateDictEntry, stateDictEntries } from '../model/state-dict.js';
import { type WritableTensor, writeCheckpoint } from '../torch/checkpoint/index.js';
import { manualSeed } from '../torch/generator.js';
import { scope, type Tensor } from '../torch/tensor.js';

/**
 * Writes `{model: state dict}` with the tensors that `draw` makes of entry n. Momentum copies equal their online
 * twins, and share their bytes in the file.
 * @throws UserError when the file cannot be written
 */
export async function writeModel(
  path: string,
  entries: readonly StateDictEntry[],
  draw: (entry: StateDictEntry, n: number) => Tensor,
): Promise<void> {
  const model = new Map<string, WritableTensor>();
  for (const [n, entry] of entries.entries()) {
    const [name, shape, dtype] = entry;
    const twin = momentumTwin(name);
    const data = twin === undefined ? scope(() => draw(entry, n).bytes()) : get(model, twin).data;
    model.set(name, { dtype, shape, data });
  }
  await writeCheckpoint(path, { model });
}

/** Writes the initial weights of the model that `config` asks for; equal seeds give equal weights. */
export async function writeInitialCheckpoint(path: string, config: ArchitectureConfig, seed: number): Promise<void> {
  const entries = stateDictEntries(architectureOf(config));
  const inputs = inputsOf(entries);
  manualSeed(seed);
  await writeModel(path, entries, (entry) => initialValue(entry, inputs(entry[0])));
}
