// Runs of the command line with the tiny model: its weights (those of rule_tiny), its config, and a folder for outputs.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { get } from '#blip/errors.js';
import { architectureOf } from '#blip/model/architecture.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { scope } from '#blip/torch/tensor.js';
import { type Command, startCommand } from './command.js';
import { testDevice } from './device.js';
import { temporaryFolder } from './files.js';
import { fixture } from './fixtures.js';
import { ruleWeights } from './rule-weights.js';
import { runCli } from './run-cli.js';
import type { NodeResult } from './run-node.js';
import { readJson } from './tensors.js';

/** Keys of a config with their values. */
export type ConfigValues = Readonly<Record<string, string | number | boolean>>;

/** Images and annotations of rule_tiny. The train split has 48 captions of 24 images. */
export const tinyData = fixture('rule_tiny/data') as string;

export const tinyArchitecture = architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} });

/** Writes the weights to `folder/rule_tiny.pth` and returns its path. */
export async function tinyCheckpoint(folder: string): Promise<string> {
  const path = join(folder, 'rule_tiny.pth');
  const entries = stateDictEntries(tinyArchitecture);
  // In a scope: what is left to the garbage collector disappears during a later count of handles.
  const tensors = scope(() => {
    const state = ruleWeights(entries, { scale: 0.15 });
    return new Map(entries.map(([name, shape, dtype]) => [name, { dtype, shape, data: get(state, name).bytes() }]));
  });
  await writeCheckpoint(path, { model: tensors });
  return path;
}

/** A config for evaluation. */
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

/** A config for training: two epochs of twelve steps in one process. */
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

/** Writes a config file and returns its path. */
export function writeConfigFile(path: string, values: ConfigValues): string {
  const lines = Object.entries(values).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
  writeFileSync(path, lines.join(''));
  return path;
}

/** Writes `rule_tiny.pth` and `train.yaml`, a training config with `changes`, to `folder`. @returns the config's path */
export async function tinyRun(folder: string, changes: ConfigValues = {}): Promise<string> {
  const pretrained = await tinyCheckpoint(folder);
  return writeConfigFile(join(folder, 'train.yaml'), { ...trainingValues(pretrained), ...changes });
}

/** How many images val and test have in `fewEvaluated`: as many as a gallery shows. */
export const FEW = 5;

/**
 * Annotations with all rows of train and the first FEW images of val and of test, in `folder`: for tests that do not look at
 * what the recalls are. Most of an epoch's time is its evaluation. @returns the folder, an ann_root
 */
export function fewEvaluated(folder: string): string {
  const path = join(folder, 'few');
  cpSync(join(tinyData, 'annotation'), path, { recursive: true });
  for (const split of ['val', 'test']) {
    const file = join(path, `coco_karpathy_${split}.json`);
    writeFileSync(file, JSON.stringify(readJson<object[]>(file).slice(0, FEW)));
  }
  return path;
}

/**
 * The runs of one test file, on the test's device, each with an output folder of its own, which is removed after the tests.
 *
 *     const tiny = new TinyRuns();
 *     before(() => tiny.write());     // rule_tiny.pth and train.yaml
 *     const { code } = await tiny.run('short', '--max_steps', '5');
 *     tiny.read('short', 'log.txt');
 */
export class TinyRuns {
  readonly folder = temporaryFolder();
  readonly config = join(this.folder, 'train.yaml');
  /** The annotations of these runs. */
  readonly annRoot: string;

  /**
   * @param options.changes to the training config; `flags` are given to every run; `device` instead of the tests'; with `few`,
   * evaluations are those of `fewEvaluated`
   */
  constructor(
    readonly options: { changes?: ConfigValues; flags?: readonly string[]; device?: string; few?: boolean } = {},
  ) {
    this.annRoot = options.few ? fewEvaluated(this.folder) : join(tinyData, 'annotation');
  }

  async write(): Promise<void> {
    await tinyRun(this.folder, { ann_root: this.annRoot, ...this.options.changes });
  }

  /** Arguments of a run into the folder `output`. */
  args(output: string, ...more: string[]): string[] {
    const { flags = [], device = testDevice } = this.options;
    return [...flags, '--config', this.config, '--output_dir', this.path(output), '--device', device, ...more];
  }

  /** Runs the command line to its end. */
  run(output: string, ...more: string[]): Promise<NodeResult> {
    return runCli(this.args(output, ...more), { OMP_NUM_THREADS: '1' });
  }

  /** Starts the command line. */
  start(output: string, ...more: string[]): Command {
    return startCommand(this.args(output, ...more));
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  read(...names: string[]): Buffer {
    return readFileSync(this.path(...names));
  }
}
