// A run of the tiny model with the weights of rule_tiny: its checkpoint and its config, for tests of the command line.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { architectureOf } from '#blip/model/architecture.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { fixture } from './fixtures.js';
import { ruleWeights } from './rule-weights.js';

/** Keys of a config with their values. */
export type ConfigValues = Readonly<Record<string, string | number | boolean>>;

/** The folder with the images and annotations of rule_tiny: 48 captions of 24 images to train on. */
export const tinyData = fixture('rule_tiny/data') as string;

/** What the model is built from. */
export const tinyArchitecture = architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} });

/** Writes the weights to a file in `folder` and gives its path. */
export async function tinyCheckpoint(folder: string): Promise<string> {
  const path = join(folder, 'rule_tiny.pth');
  const entries = stateDictEntries(tinyArchitecture);
  const state = ruleWeights(entries, { scale: 0.15 });
  const tensors = new Map(
    entries.map(([name, shape, dtype]) => [name, { dtype, shape, data: state.get(name)?.bytes() ?? new Uint8Array() }]),
  );
  await writeCheckpoint(path, { model: tensors });
  return path;
}

/** What an evaluation needs. */
export function evaluationValues(pretrained: string): ConfigValues {
  return {
    image_root: join(tinyData, 'images'),
    ann_root: join(tinyData, 'annotation'),
    dataset: 'coco',
    pretrained,
    vit: 'tiny',
    image_size: 96,
    batch_size_test: 8,
    k_test: 8,
  };
}

/** What training needs: two epochs of twelve steps in one process. */
export function trainingValues(pretrained: string): ConfigValues {
  return {
    ...evaluationValues(pretrained),
    batch_size_train: 4,
    vit_grad_ckpt: true,
    vit_ckpt_layer: 1,
    queue_size: 64,
    alpha: 0.4,
    negative_all_rank: true,
    init_lr: 1e-4,
    weight_decay: 0.05,
    min_lr: 0,
    max_epoch: 2,
  };
}

/** Writes a config file and gives its path. */
export function writeConfigFile(path: string, values: ConfigValues): string {
  const lines = Object.entries(values).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
  writeFileSync(path, lines.join(''));
  return path;
}

/** Writes weights and a training config with `changes` into `folder`; gives the config's path. */
export async function tinyRun(folder: string, changes: ConfigValues = {}): Promise<string> {
  const pretrained = await tinyCheckpoint(folder);
  return writeConfigFile(join(folder, 'train.yaml'), { ...trainingValues(pretrained), ...changes });
}
