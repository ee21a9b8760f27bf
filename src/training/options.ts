// What a run is asked to do beside its config: each option declared once. The command line makes flags of these tables,
// and programs give the options under the same names in camelCase.
import { type FlagValues, flag, whole } from '../config/flag.js';
import { precisions } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';

export const runFlags = {
  config: flag('<file>', 'YAML config of the experiment', './configs/retrieval_flickr.yaml'),
  output_dir: flag('<folder>', 'where results go', 'output/Retrieval_flickr'),
  evaluate: flag('', 'evaluate only', false),
  device: flag<Device | undefined>(
    '<device>',
    'cpu, cuda or cuda:N (default: cuda where there is one, else cpu)',
    undefined,
    parseDevice,
  ),
  seed: flag('<number>', 'seed of all random numbers', 42, whole(0)),
  set: flag<string[]>('<key=value>', 'override one key of the config; may be repeated', []),
  strict_config: flag('', 'make an unknown key of the config an error', false),
  precision: flag('<name>', 'arithmetic of matrix products', 'fp32', precisions),
  tensorboard: flag('', 'write events for TensorBoard into tensorboard/ of the output folder', false),
  reference_output: flag('', "print the reference's lines on a terminal too", false),
  save_scores: flag('', 'write scores_val.safetensors and scores_test.safetensors', false),
  skip_bad_images: flag('', 'skip and count images that cannot be read', false),
  allow_outside_images: flag('', 'accept image paths that are absolute or leave image_root', false),
  allow_partial: flag('', 'accept a checkpoint that lacks weights; they stay random', false),
  dry_run: flag('', 'measure what memory and time the run needs, print it, and end', false),
  quiet: flag('', 'print results only', false),
};

export const trainingFlags = {
  resume: {
    ...flag<string | undefined>('[latest|file]', 'continue from a checkpoint of this program', undefined),
    implied: 'latest', // checkpoint_last.pth of the output folder
  },
  save_every: flag<number | undefined>('<steps>', 'write checkpoint_last.pth at this interval', undefined, whole(1)),
  max_steps: flag<number | undefined>('<steps>', 'stop after this many steps', undefined, whole(1)),
  accumulate: flag('<batches>', 'sum the gradients of this many batches before each update', 1, whole(1)),
  log_every: flag('<steps>', 'print losses, and add them to metrics.jsonl, at this interval', 50, whole(1)),
};

/** What only training takes. */
export type TrainingOptions = FlagValues<typeof trainingFlags>;

export interface RunOptions extends FlagValues<typeof runFlags> {
  training: TrainingOptions;
  /** The command, indented and in lines that fit, by which a user continues a stopped run that is part of another command. */
  continueWith?: string;
}

/** Parses `cpu`, `cuda`, `cuda:1`. @throws RangeError */
export function parseDevice(text: string): Device {
  if (text === 'cpu') return 'cpu';
  const match = /^cuda(?::(\d{1,3}))?$/.exec(text);
  if (match === null) throw new RangeError('Expected cpu, cuda or cuda:N.');
  return `cuda:${Number(match[1] ?? 0)}`;
}
