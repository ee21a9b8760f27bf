// The flags of the main command: the reference's, torchrun's and our own, and the options that they give.
import { Command, InvalidArgumentError } from 'commander';
import { precisions } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';
import { addFlags, type FlagValues, flag, flagValues, givenFlags, whole } from './flags.js';

const runFlags = {
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
  precision: flag('<name>', 'arithmetic of matrix products', 'fp32', precisions),
  save_scores: flag('', 'write scores_val.safetensors and scores_test.safetensors', false),
  skip_bad_images: flag('', 'skip and count images that cannot be read', false),
  allow_partial: flag('', 'accept a checkpoint that lacks weights; they stay random', false),
  quiet: flag('', 'print results only', false),
};

const trainingFlags = {
  resume: {
    ...flag<string | undefined>('[latest|file]', 'continue from a checkpoint of this program', undefined),
    implied: 'latest', // checkpoint_last.pth of the output folder
  },
  save_every: flag<number | undefined>('<steps>', 'write checkpoint_last.pth at this interval', undefined, whole(1)),
  max_steps: flag<number | undefined>('<steps>', 'stop after this many steps', undefined, whole(1)),
  accumulate: flag('<batches>', 'sum the gradients of this many batches before each update', 1, whole(1)),
  log_every: flag('<steps>', 'print losses, and add them to metrics.jsonl, at this interval', 50, whole(1)),
};

const launchTable = {
  nproc_per_node: flag('<n>', 'processes on this machine: a number, auto, cpu or gpu', '1', processCount),
  nnodes: flag('<n>', 'machines: a number or MIN:MAX', 1, nodeCount),
  node_rank: flag('<n>', 'number of this machine, from 0', 0, whole(0)),
  master_addr: flag('<host>', 'address of machine 0', '127.0.0.1'),
  master_port: flag<number | undefined>(
    '<port>',
    'port on machine 0 (default: a free one on a single machine, 29500 on several)',
    undefined,
    portNumber,
  ),
  max_restarts: flag('<n>', 'how often to start the processes again', 0, whole(0)),
  collective_timeout: flag('<seconds>', 'how long processes wait for each other in an exchange', 1800, seconds),
  world_size: flag('<n>', 'processes in all', 1, whole(1)),
  dist_url: flag('<url>', 'how the processes meet', 'env://'),
  distributed: flag('<bool>', 'whether to use several processes', 'True'),
};

/** How many processes are asked for, and how they are started and meet. */
export type LaunchFlags = FlagValues<typeof launchTable>;

/** What only training takes. */
export type TrainingOptions = FlagValues<typeof trainingFlags>;

/** What a run needs to know from the command line. */
export interface RetrievalOptions extends FlagValues<typeof runFlags> {
  training: TrainingOptions;
  /** How long a rank waits for the others in an exchange. */
  collectiveTimeoutMs: number;
  /** Lines to print first: what was asked for and has no effect here. */
  notes: string[];
}

/** Declares the flags of the main command; names have `_`, and the command line may have `-` instead. */
export function addRetrievalOptions(command: Command): Command {
  addFlags(command, runFlags).optionsGroup('Training:');
  addFlags(command, trainingFlags).optionsGroup('Several processes (as torchrun):');
  return addFlags(command, launchTable);
}

/** What the parsed flags ask for. */
export function retrievalOptions(command: Command): RetrievalOptions {
  const run = flagValues(command, runFlags);
  const unused = run.evaluate ? givenFlags(command, trainingFlags).map((name) => `--${name}`) : [];
  const apply = unused.length === 1 ? 'applies' : 'apply';
  return {
    ...run,
    training: flagValues(command, trainingFlags),
    collectiveTimeoutMs: launchFlags(command).collectiveTimeout * 1000,
    notes: unused.length === 0 ? [] : [`${unused.join(', ')} ${apply} to training only; ignored with --evaluate.`],
  };
}

/** The options of an empty command line. */
export function defaultRetrievalOptions(): RetrievalOptions {
  return retrievalOptions(addRetrievalOptions(new Command()));
}

/** What the parsed flags say of processes. */
export function launchFlags(command: Command): LaunchFlags {
  return flagValues(command, launchTable);
}

/** Parses `cpu`, `cuda`, `cuda:1`. @throws InvalidArgumentError */
export function parseDevice(text: string): Device {
  if (text === 'cpu') return 'cpu';
  const match = /^cuda(?::(\d{1,3}))?$/.exec(text);
  if (match === null) throw new InvalidArgumentError('Expected cpu, cuda or cuda:N.');
  return `cuda:${Number(match[1] ?? 0)}`;
}

function processCount(text: string): string {
  return ['auto', 'cpu', 'gpu'].includes(text) ? text : String(whole(1)(text));
}

/** Of MIN:MAX the larger: all machines are waited for. */
function nodeCount(text: string): number {
  const [, least, most] = /^(\d+)(?::(\d+))?$/.exec(text) ?? [];
  if (least === undefined || Number(least) < 1 || (most !== undefined && Number(most) < Number(least))) {
    throw new InvalidArgumentError('Expected a number of machines, or MIN:MAX.');
  }
  return Number(most ?? least);
}

/** Up to a week, which fits the milliseconds of timers. */
function seconds(text: string): number {
  const value = whole(1)(text);
  if (value <= 7 * 86_400) return value;
  throw new InvalidArgumentError('Expected at most 604800 seconds, a week.');
}

function portNumber(text: string): number {
  const port = whole(0)(text);
  if (port <= 65535) return port;
  throw new InvalidArgumentError('Expected a port from 0 to 65535.');
}
