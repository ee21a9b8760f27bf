// Starts the ranks of this machine, as torchrun does, and ends them all when one fails or the user asks for it.
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { availableParallelism, constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors.js';
import { LOST_RANK } from './failures.js';
import { passLines } from './lines.js';
import { DEFAULT_PORT, LAUNCHED_AT } from './rank.js';

export interface LaunchOptions {
  /** Ranks on this machine. */
  nproc: number;
  /** What Node runs in each: a script and its arguments. */
  argv: readonly string[];
  nnodes?: number;
  /** Number of this machine, from 0. */
  nodeRank?: number;
  masterAddr?: string;
  /** When left out, a free one on a single machine and 29500 on several. */
  masterPort?: number;
  /** How often all ranks of this machine are started again after a failure. */
  maxRestarts?: number;
  env?: NodeJS.ProcessEnv;
  /** How long ranks have to end by themselves, after SIGTERM or the user's signal, before SIGKILL. */
  graceMs?: number;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** How long to wait for the last lines of a rank that has ended. */
const PIPE_MS = 2_000;
/** How long to wait for the failure that made another rank lose its connection. */
const CAUSE_MS = 1_000;
/** A signal that comes twice within this time is one: a terminal and npm both send it. */
const SAME_SIGNAL_MS = 1_000;

interface Started {
  rank: number;
  child: ChildProcess;
  ended: Promise<void>;
  running: boolean;
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The last line on stderr that says something. */
  lastLine: () => string;
}

/** What `--nproc_per_node` means on a machine with `gpus` GPUs. @throws UserError (exit code 2) for gpu without one */
export function processesPerNode(text: string, gpus: number): number {
  if (text === 'auto') return gpus > 0 ? gpus : availableParallelism();
  if (text === 'cpu') return availableParallelism();
  if (text !== 'gpu') return Number(text);
  if (gpus > 0) return gpus;
  throw new UserError(
    '--nproc_per_node gpu needs a GPU, and there is none that LibTorch can use: use a number or cpu.',
    {
      exitCode: 2,
    },
  );
}

/** A port of this machine that nothing listens on. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : DEFAULT_PORT));
    });
  });
}

/** One of the times that all ranks of this machine are started. */
interface Attempt {
  port: number;
  /** How often they were started before. */
  restarts: number;
  /** When they were started first, in milliseconds since 1970. */
  launchedAt: number;
}

function environment(
  options: LaunchOptions,
  localRank: number,
  { port, restarts, launchedAt }: Attempt,
): NodeJS.ProcessEnv {
  const { nproc, nnodes = 1, nodeRank = 0, masterAddr = '127.0.0.1', maxRestarts = 0 } = options;
  const { TORCHELASTIC_USE_AGENT_STORE: _agent, ...surrounding } = options.env ?? process.env;
  return {
    // One thread a rank, as torchrun has it: more would fight for the cores. libuv's pool reads files and decodes.
    ...(nproc > 1 ? { OMP_NUM_THREADS: '1' } : {}),
    UV_THREADPOOL_SIZE: String(Math.max(4, Math.ceil(availableParallelism() / nproc))),
    ...surrounding,
    RANK: String(nodeRank * nproc + localRank),
    WORLD_SIZE: String(nnodes * nproc),
    LOCAL_RANK: String(localRank),
    LOCAL_WORLD_SIZE: String(nproc),
    GROUP_RANK: String(nodeRank),
    MASTER_ADDR: masterAddr,
    MASTER_PORT: String(port),
    TORCHELASTIC_RESTART_COUNT: String(restarts),
    TORCHELASTIC_MAX_RESTARTS: String(maxRestarts),
    BLIP_LAUNCHER_PID: String(process.pid),
    [LAUNCHED_AT]: String(launchedAt),
  };
}

function start(options: LaunchOptions, localRank: number, attempt: Attempt): Started {
  const env = environment(options, localRank, attempt);
  const rank = Number(env.RANK);
  // A process group of its own: what a rank starts ends with it, and Ctrl-C comes once, from the launcher.
  const child = spawn(process.execPath, [...process.execArgv, ...options.argv], {
    env,
    detached: true,
    stdio: ['ignore', rank === 0 ? 'inherit' : 'pipe', 'pipe'],
  });
  // Rank 0 is the run's voice; what others print goes to stderr, marked.
  const mark = rank === 0 ? '' : `[rank ${rank}] `;
  if (child.stdout) passLines(child.stdout, process.stderr, mark);
  const lastLine = child.stderr ? passLines(child.stderr, process.stderr, mark) : () => '';
  const started: Started = {
    rank,
    child,
    running: true,
    code: null,
    signal: null,
    lastLine,
    ended: new Promise((resolve) => {
      child.on('error', (error) => {
        if (child.pid !== undefined) return;
        started.running = false;
        started.lastLine = () => `it could not be started: ${error.message}`;
        resolve();
      });
      child.on('exit', (code, signal) => {
        started.running = false;
        started.code = code;
        started.signal = signal;
        // Its last lines are still in the pipe; what it started may hold that open for ever.
        signalRank(started, 'SIGKILL');
        child.once('close', () => resolve());
        setTimeout(resolve, PIPE_MS).unref();
      });
    }),
  };
  return started;
}

/** Sends `signal` to a rank and to all that it started. */
function signalRank({ child }: Started, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended.
  }
}

const failed = (rank: Started) => !rank.running && rank.code !== 0;

function describe(cause: Started, others: number): string {
  const { rank, child, code, signal } = cause;
  const how =
    signal === null
      ? code === null
        ? 'did not start'
        : `ended with exit code ${code}`
      : `was killed by ${signal}${signal === 'SIGKILL' ? ' (the kernel does that when memory is short)' : ''}`;
  const said = cause.lastLine().replace(/^error: /, '');
  const rest = others > 0 ? `; the other ${others === 1 ? 'rank was' : `${others} ranks were`} ended` : '';
  return `error: rank ${rank} (pid ${child.pid ?? 'none'}) ${how}${rest}${said === '' ? '.' : `\nerror: first cause, rank ${rank}: ${said}`}`;
}

/** What the user asked for by a signal, over all attempts. */
interface Asked {
  signal: NodeJS.Signals | undefined;
}

/** Runs all ranks once. @returns 0, or the first failure's exit code after all have ended */
async function attempt(options: LaunchOptions, again: Omit<Attempt, 'port'>, asked: Asked): Promise<number> {
  const { nproc, nnodes = 1, graceMs = 30_000 } = options;
  const port = options.masterPort ?? (nnodes > 1 ? DEFAULT_PORT : await freePort());
  const ranks = Array.from({ length: nproc }, (_, localRank) => start(options, localRank, { port, ...again }));
  const failures: Started[] = [];
  let endedByUs = 0;
  let killer: NodeJS.Timeout | undefined;
  const killAll = () => {
    for (const rank of ranks) if (rank.running) signalRank(rank, 'SIGKILL');
  };
  const end = (signal: NodeJS.Signals) => {
    for (const rank of ranks)
      if (rank.running) {
        signalRank(rank, signal);
        signalRank(rank, 'SIGCONT'); // one that is stopped could not end
      }
    killer ??= setTimeout(killAll, graceMs);
  };
  let last = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    if (asked.signal === signal && Date.now() - last < SAME_SIGNAL_MS) return;
    last = Date.now();
    asked.signal ??= signal;
    end(signal);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  process.on('exit', killAll);
  let ending: Promise<void> | undefined;
  await Promise.all(
    ranks.map(async (rank) => {
      await rank.ended;
      if (!failed(rank) || killer !== undefined) return;
      failures.push(rank);
      // A rank that lost its peer is a consequence: the peer's own failure is about to be seen.
      ending ??= (async () => {
        if (rank.lastLine().includes(LOST_RANK)) await sleep(CAUSE_MS);
        endedByUs = ranks.filter(({ running }) => running).length;
        end('SIGTERM');
      })();
    }),
  );
  await ending;
  clearTimeout(killer);
  process.off('exit', killAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
  if (asked.signal !== undefined)
    return ranks.every(({ code }) => code === 0) ? 0 : 128 + constants.signals[asked.signal];
  const cause = failures.find((rank) => !rank.lastLine().includes(LOST_RANK)) ?? failures[0];
  if (cause === undefined) return 0;
  console.error(describe(cause, endedByUs));
  return cause.code === 2 ? 2 : 1;
}

/**
 * Runs `nproc` ranks of `node …argv` with the environment that torchrun gives, and waits for all of them. None is left
 * when it returns; when the launcher itself is killed, the ranks end as well (see endWithLauncher).
 * @returns the exit code of the command: 0; 1 after a failure, whose rank, pid and last line are printed (2 where that
 * rank found wrong usage); 130, 143 … after a signal
 */
export async function launch(options: LaunchOptions): Promise<number> {
  const { maxRestarts = 0 } = options;
  const asked: Asked = { signal: undefined };
  const launchedAt = Date.now();
  for (let restarts = 0; ; restarts++) {
    const code = await attempt(options, { restarts, launchedAt }, asked);
    if (code === 0 || code === 2 || asked.signal !== undefined || restarts >= maxRestarts) return code;
    console.error(`Starting the ranks again (${restarts + 1} of at most ${maxRestarts} restarts).`);
  }
}
