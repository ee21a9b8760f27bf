// The files of a folder as transformers writes it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** The names of weights, the wanted one first. */
export const WEIGHT_FILES = ['model.safetensors', 'pytorch_model.bin'] as const;

/** The list of the parts, where the weights are in several files. */
export const INDEX_FILES = WEIGHT_FILES.map((name) => `${name}.index.json`);

export const CONFIG_FILE = 'config.json';

/** The weights in a folder, and its config.json; undefined where it has no weights. */
export function weightsIn(folder: string): { weights: string; config?: string } | undefined {
  const weights = WEIGHT_FILES.map((name) => join(folder, name)).find((path) => existsSync(path));
  return weights === undefined ? undefined : { weights, ...configIn(folder) };
}

export function configIn(folder: string): { config?: string } {
  const config = join(folder, CONFIG_FILE);
  return existsSync(config) ? { config } : {};
}

/** The name of the index in a folder whose weights are in several files. */
export function indexIn(folder: string): string | undefined {
  return INDEX_FILES.find((name) => existsSync(join(folder, name)));
}

/** What to say of weights in several files. @param where `the folder x`, `hf:x/y` */
export function shardedText(where: string, index: string): string {
  const remedy = 'Join them: load the model with transformers, and save it with max_shard_size="100GB"';
  return `The weights of ${where} are in several files (${index}), and only whole ones are read. ${remedy}.`;
}
