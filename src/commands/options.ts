// The flags of the main command: the reference's, torchrun's and our own, and what they ask of an evaluation.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { UserError } from '../errors.js';

/** A device as LibTorch names it, `cuda` made `cuda:0`. */
export type DeviceName = 'cpu' | `cuda:${number}`;
export const precisions = ['fp32', 'tf32', 'bf16'] as const;
export type Precision = (typeof precisions)[number];

/** What one evaluation needs to know from the command line. */
export interface RetrievalOptions {
  /** Path of the YAML file. */
  config: string;
  /** `--set` overrides, in order. */
  set: string[];
  outputDir: string;
  /** Evaluate only; else fine-tune, with an evaluation after every epoch. */
  evaluate: boolean;
  training: TrainingOptions;
  /** Undefined: cuda where there is one, else cpu (resolveDevice). */
  device: DeviceName | undefined;
  seed: number;
  precision: Precision;
  /** Write scores_{val,test}.safetensors. */
  saveScores: boolean;
  /** Count and leave out images that cannot be read. */
  skipBadImages: boolean;
  /** Go on when the checkpoint leaves weights of the vision encoder random. */
  allowPartial: boolean;
  quiet: boolean;
  /** How long a rank waits for the others in an exchange. */
  collectiveTimeoutMs: number;
  /** Lines to print first: what was asked for and has no effect here. */
  notes: string[];
}

/** What only training takes. */
export interface TrainingOptions {
  /** 'latest' is checkpoint_last.pth of the output folder; undefined starts anew. */
  resume: 'latest' | (string & {}) | undefined;
  saveEvery: number | undefined;
  maxSteps: number | undefined;
  accumulate: number;
  /** Steps from one line of metrics.jsonl to the next. */
  logEvery: number;
}

/** The flags as commander gives them, named as on the command line. */
interface RetrievalFlags {
  config: string;
  output_dir: string;
  evaluate?: true;
  device?: DeviceName;
  seed: number;
  set?: string[];
  precision: Precision;
  save_scores?: true;
  skip_bad_images?: true;
  allow_partial?: true;
  quiet?: true;
  resume?: string | true;
  save_every?: number;
  max_steps?: number;
  accumulate?: number;
  log_every?: number;
  world_size: number;
  nproc_per_node: string;
  nnodes: string;
  node_rank: number;
  master_addr: string;
  master_port?: number;
  max_restarts: number;
  collective_timeout: number;
}

/** Declares the flags of the main command; names have `_`, and the command line may have `-` instead. */
export function addRetrievalOptions(command: Command): Command {
  const whole = (least: number) => (text: string) => wholeNumber(text, least);
  return command
    .option('--config <file>', 'YAML config of the experiment', './configs/retrieval_flickr.yaml')
    .option('--output_dir <folder>', 'where results go', 'output/Retrieval_flickr')
    .option('--evaluate', 'evaluate only')
    .option('--device <device>', 'cpu, cuda or cuda:N (default: cuda where there is one, else cpu)', parseDevice)
    .option('--seed <number>', 'seed of all random numbers', whole(0), 42)
    .option('--set <key=value>', 'override one key of the config; may be repeated', collect)
    .addOption(new Option('--precision <name>', 'arithmetic of matrix products').choices(precisions).default('fp32'))
    .option('--save_scores', 'write scores_val.safetensors and scores_test.safetensors')
    .option('--skip_bad_images', 'go on when an image cannot be read, and count it')
    .option('--allow_partial', 'go on when the checkpoint leaves the vision encoder random')
    .option('--quiet', 'print results only')
    .optionsGroup('Training:')
    .option('--resume [latest|file]', 'go on from a checkpoint of this program')
    .option('--save_every <steps>', 'write checkpoint_last.pth every so many steps', whole(1))
    .option('--max_steps <steps>', 'end after so many steps', whole(1))
    .option('--accumulate <batches>', 'add up the gradients of so many batches', whole(1))
    .option(
      '--log_every <steps>',
      'print losses, and add them to metrics.jsonl, every so many steps (default: 50)',
      whole(1),
    )
    .optionsGroup('Several processes (as torchrun):')
    .option('--nproc_per_node <n>', 'processes on this machine: a number, auto, cpu or gpu', processCount, '1')
    .option('--nnodes <n>', 'machines: a number or MIN:MAX', nodeCount, '1')
    .option('--node_rank <n>', 'number of this machine, from 0', whole(0), 0)
    .option('--master_addr <host>', 'address of machine 0', '127.0.0.1')
    .option(
      '--master_port <port>',
      'port on machine 0 (default: a free one on a single machine, 29500 on several)',
      portNumber,
    )
    .option('--max_restarts <n>', 'how often to start the processes again', whole(0), 0)
    .option('--collective_timeout <seconds>', 'how long processes wait for each other in an exchange', seconds, 1800)
    .option('--world_size <n>', 'processes in all', whole(1), 1)
    .option('--dist_url <url>', 'how the processes meet', 'env://')
    .option('--distributed <bool>', 'whether to use several processes', 'True');
}

/** What the parsed flags ask for. */
export function retrievalOptions(command: Command): RetrievalOptions {
  const flags = command.opts<RetrievalFlags>();
  const evaluate = flags.evaluate === true;
  const notes: string[] = [];
  const unused = (['resume', 'save_every', 'max_steps', 'accumulate', 'log_every'] as const).filter(
    (key) => flags[key] !== undefined,
  );
  if (evaluate && unused.length > 0) {
    notes.push(`${unused.map((key) => `--${key}`).join(', ')}: of training only, without effect with --evaluate.`);
  }
  return {
    config: flags.config,
    set: flags.set ?? [],
    outputDir: flags.output_dir,
    evaluate,
    training: {
      resume: flags.resume === true ? 'latest' : flags.resume,
      saveEvery: flags.save_every,
      maxSteps: flags.max_steps,
      accumulate: flags.accumulate ?? 1,
      logEvery: flags.log_every ?? 50,
    },
    device: flags.device,
    seed: flags.seed,
    precision: flags.precision,
    saveScores: flags.save_scores === true,
    skipBadImages: flags.skip_bad_images === true,
    allowPartial: flags.allow_partial === true,
    quiet: flags.quiet === true,
    collectiveTimeoutMs: flags.collective_timeout * 1000,
    notes,
  };
}

/** How many processes are asked for, and how they are started and meet. */
export interface LaunchFlags {
  nprocPerNode: string;
  nnodes: number;
  nodeRank: number;
  masterAddr: string;
  /** Undefined: a free one on a single machine. */
  masterPort: number | undefined;
  maxRestarts: number;
  worldSize: number;
}

/** What the parsed flags say of processes. */
export function launchFlags(command: Command): LaunchFlags {
  const flags = command.opts<RetrievalFlags>();
  return {
    nprocPerNode: flags.nproc_per_node,
    nnodes: Number(flags.nnodes.split(':').at(-1)),
    nodeRank: flags.node_rank,
    masterAddr: flags.master_addr,
    masterPort: flags.master_port,
    maxRestarts: flags.max_restarts,
    worldSize: flags.world_size,
  };
}

/** What LibTorch says about CUDA on this machine. */
export interface CudaState {
  /** GPUs that can be used. */
  count: number;
  /** Why there is none, as a clause: `libtorch_cuda is not installed`. */
  problem?: string | undefined;
}

/**
 * The device to run on.
 * @returns the device, and a line to print when the CPU was chosen for want of a GPU
 * @throws UserError when an explicit GPU is not there; says why
 */
export function resolveDevice(choice: DeviceName | undefined, cuda: CudaState): { device: DeviceName; note?: string } {
  const why = cuda.problem ?? 'LibTorch sees no GPU';
  if (choice === undefined) {
    return cuda.count > 0 ? { device: 'cuda:0' } : { device: 'cpu', note: `Running on the CPU: ${why}.` };
  }
  const index = choice === 'cpu' ? -1 : Number(choice.slice('cuda:'.length));
  if (index < cuda.count) return { device: choice };
  const seen = cuda.count === 1 ? 'is 1 GPU, number 0' : `are ${cuda.count} GPUs, numbered from 0`;
  throw new UserError(
    cuda.count === 0
      ? `--device cuda cannot be used: ${why}; run \`doctor\` for details, or use --device cpu.`
      : `--device ${choice} cannot be used: there ${seen}; use --device cuda:${cuda.count - 1}.`,
  );
}

/** Parses `cpu`, `cuda`, `cuda:1`. @throws InvalidArgumentError */
export function parseDevice(text: string): DeviceName {
  if (text === 'cpu') return 'cpu';
  const match = /^cuda(?::(\d{1,3}))?$/.exec(text);
  if (match === null) throw new InvalidArgumentError('Expected cpu, cuda or cuda:N.');
  return `cuda:${Number(match[1] ?? 0)}`;
}

/** Adds one value of an option that may be repeated. */
export function collect(text: string, previous: readonly string[] = []): string[] {
  return [...previous, text];
}

/** Parses a whole number of at least `least`. @throws InvalidArgumentError */
export function wholeNumber(text: string, least: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new InvalidArgumentError(`Expected a whole number, ${least} or more.`);
}

function processCount(text: string): string {
  if (['auto', 'cpu', 'gpu'].includes(text)) return text;
  return String(wholeNumber(text, 1));
}

function nodeCount(text: string): string {
  const [, least, most] = /^(\d+)(?::(\d+))?$/.exec(text) ?? [];
  if (least === undefined || Number(least) < 1 || (most !== undefined && Number(most) < Number(least))) {
    throw new InvalidArgumentError('Expected a number of machines, or MIN:MAX.');
  }
  return text;
}

/** Up to a week, which fits the milliseconds of timers. */
function seconds(text: string): number {
  const value = wholeNumber(text, 1);
  if (value <= 7 * 86_400) return value;
  throw new InvalidArgumentError('Expected at most 604800 seconds, a week.');
}

function portNumber(text: string): number {
  const port = wholeNumber(text, 0);
  if (port <= 65535) return port;
  throw new InvalidArgumentError('Expected a port from 0 to 65535.');
}
