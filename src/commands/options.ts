// The flags of the main command: the reference's, torchrun's and our own, and the options that they give.
import { Command } from 'commander';
import { type FlagValues, flag, whole } from '../config/flag.js';
import { UserError } from '../errors.js';
import { type RunOptions, runFlags, trainingFlags } from '../training/options.js';
import { addFlags, flagValues, givenFlags, withFlagNames } from './flags.js';

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
  standalone: flag('', 'this machine alone: --nnodes 1 and a free port', false),
  rdzv_endpoint: flag<Endpoint | undefined>(
    '<host[:port]>',
    '--master_addr and --master_port in one',
    undefined,
    endpoint,
  ),
  local_rank: flag<number | undefined>(
    '<n>',
    'number of this process on its machine, where LOCAL_RANK does not say it',
    undefined,
    whole(0),
  ),
};

/** What launchers of PyTorch take and nothing here needs: accepted, and named. */
const unneededTable = Object.fromEntries(
  Object.entries({
    rdzv_backend: '<name>',
    rdzv_id: '<id>',
    rdzv_conf: '<key=value,…>',
    use_env: '',
    no_python: '',
    run_path: '',
    start_method: '<name>',
    monitor_interval: '<seconds>',
    role: '<name>',
    log_dir: '<folder>',
    redirects: '<streams>',
    tee: '<streams>',
    local_addr: '<host>',
    local_ranks_filter: '<ranks>',
    logs_specs: '<name>',
    event_log_handler: '<name>',
    signals_to_handle: '<names>',
    duplicate_stdout_filters: '<texts>',
    duplicate_stderr_filters: '<texts>',
    numa_binding: '<how>',
    virtual_local_rank: '',
  }).map(([name, value]) => [name, flag<string | boolean | undefined>(value, '', undefined)]),
);

interface Endpoint {
  host: string;
  port?: number;
}

/** How many processes are asked for, and how they are started and meet. */
export type LaunchFlags = FlagValues<typeof launchTable> & {
  /** Those that the command line gives, without `--`. */
  given: readonly string[];
};

/** What a run needs to know from the command line. */
export interface RetrievalOptions extends RunOptions {
  /** How long a rank waits for the others in an exchange. */
  collectiveTimeoutMs: number;
  /** Lines to print first: what was asked for and has no effect here. */
  notes: string[];
}

/** Declares the flags of the main command; names have `_`, and the command line may have `-` instead. */
export function addRetrievalOptions(command: Command): Command {
  addFlags(command, runFlags).optionsGroup('Training:');
  addFlags(command, trainingFlags).optionsGroup('Several processes (as torchrun):');
  addFlags(command, launchTable);
  const own = command.options.length;
  addFlags(command, unneededTable);
  for (const option of command.options.slice(own)) {
    option.hideHelp();
    const short = { redirects: '-r', tee: '-t' }[option.name()]; // torchrun's
    if (short !== undefined) option.short = short;
  }
  return command;
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
    notes: [
      ...(unused.length === 0 ? [] : [`${unused.join(', ')} ${apply} to training only; ignored with --evaluate.`]),
      ...unneededNotes(command),
    ],
  };
}

/** A sentence of the library, which names options (`skipBadImages`), with the flags of the command line in their place. */
export function asFlags(message: string): string {
  return withFlagNames(message, { ...runFlags, ...trainingFlags, ...launchTable });
}

/** The options of an empty command line. */
export function defaultRetrievalOptions(): RetrievalOptions {
  return retrievalOptions(addRetrievalOptions(new Command()));
}

/** What the parsed flags say of processes. @throws UserError for flags that contradict each other */
export function launchFlags(command: Command): LaunchFlags {
  const flags = { ...flagValues(command, launchTable), given: givenFlags(command, launchTable) };
  if (flags.standalone && flags.nnodes > 1)
    throw new UserError(`--standalone is one machine, and --nnodes says ${flags.nnodes}. Leave one of the two out.`, {
      exitCode: 2,
    });
  if (flags.standalone) return { ...flags, masterAddr: '127.0.0.1', masterPort: undefined };
  const { host = flags.masterAddr, port = flags.masterPort } = flags.rdzvEndpoint ?? {};
  // Port 0 is a free one, which other machines could not know.
  return { ...flags, masterAddr: host, masterPort: port === 0 && flags.nnodes === 1 ? undefined : port };
}

/** A line that names the flags of other launchers that were given and do nothing here. */
function unneededNotes(command: Command): string[] {
  const names = givenFlags(command, unneededTable).map((name) => `--${name}`);
  if (names.length === 0) return [];
  return [`${names.join(', ')}: taken for torchrun's sake, but not needed here, and without effect.`];
}

function processCount(text: string): string {
  return ['auto', 'cpu', 'gpu'].includes(text) ? text : String(whole(1)(text));
}

/** Of MIN:MAX the larger: all machines are waited for. */
function nodeCount(text: string): number {
  const [, least, most] = /^(\d+)(?::(\d+))?$/.exec(text) ?? [];
  if (least === undefined || Number(least) < 1 || (most !== undefined && Number(most) < Number(least))) {
    throw new RangeError('Expected a number of machines, or MIN:MAX.');
  }
  return Number(most ?? least);
}

/** Up to a week, which fits the milliseconds of timers. */
function seconds(text: string): number {
  const value = whole(1)(text);
  if (value <= 7 * 86_400) return value;
  throw new RangeError('Expected at most 604800 seconds, a week.');
}

/** HOST, HOST:PORT or [IPv6]:PORT. */
function endpoint(text: string): Endpoint {
  const [, bracketed, name, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(.*))?$/.exec(text) ?? [];
  const host = bracketed ?? name;
  if (host === undefined) throw new RangeError('Expected HOST:PORT.');
  return { host, ...(port === undefined ? {} : { port: portNumber(port) }) };
}

function portNumber(text: string): number {
  const port = whole(0)(text);
  if (port <= 65535) return port;
  throw new RangeError('Expected a port from 0 to 65535.');
}
