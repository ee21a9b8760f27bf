// A run of the tiny model with the weights of rule_tiny: its checkpoint and its config, for tests of the command line.
import { join } from 'node:path';
import { architectureOf } from '#blip/model/architecture.js';
import { modelEntries } from '#blip/model/entries.js';
import { ruleWeights } from '#blip/model/rule-weights.js';
import { writeCheckpoint } from '#blip/torch/checkpoint/write.js';

/** Writes the weights to a file in `folder` and gives its path. */
export async function tinyCheckpoint(folder: string): Promise<string> {
  const path = join(folder, 'rule_tiny.pth');
  const entries = modelEntries(architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} }));
  const state = ruleWeights(entries, { scale: 0.15 });
  const tensors = new Map(
    entries.map(([name, shape, dtype]) => [name, { dtype, shape, data: state.get(name)?.bytes() ?? new Uint8Array() }]),
  );
  await writeCheckpoint(path, { model: tensors });
  return path;
}

/** A config that trains and evaluates; `data` has the folders images and annotation. */
export function tinyConfig({ pretrained, data }: { pretrained: string; data: string }): string {
  return `image_root: ${JSON.stringify(join(data, 'images'))}
ann_root: ${JSON.stringify(join(data, 'annotation'))}
dataset: coco
pretrained: ${JSON.stringify(pretrained)}
vit: tiny
image_size: 96
batch_size_train: 4
batch_size_test: 8
vit_grad_ckpt: True
vit_ckpt_layer: 1
queue_size: 64
alpha: 0.4
k_test: 8
negative_all_rank: True
init_lr: 1e-4
weight_decay: 0.05
min_lr: 0
max_epoch: 2
`;
}
