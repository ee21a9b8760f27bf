// The process of one rank: its environment, its output, its end, and signals to it and everything that it started.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { watchdogFailure } from './failures.js';
import { forwardLines } from './lines.js';
import { LAUNCHED_AT } from './rank.js';

export interface LaunchOptions {
  /** Ranks on this machine. */
  nproc: number;
  /** Node's arguments in each rank: a script and the script's arguments. */
  argv: readonly string[];
  nnodes?: number;
  /** Number of this machine, counted from 0. */
  nodeRank?: number;
  masterAddr?: string;
  /** By default a free port on a single machine, and 29500 on several. */
  masterPort?: number;
  /** How often all ranks of this machine are restarted after a failure. */
  maxRestarts?: number;
  env?: NodeJS.ProcessEnv;
  /**
   * How long ranks may take to end by themselves: after SIGTERM or the user's signal, before SIGKILL; and after the first
   * rank has finished, which it does together with the others or after it has waited for them.
   */
  graceMs?: number;
}

/** How long to wait for the last output of a rank that has ended. */
const PIPE_MS = 2_000;

/** A rank's process. */
export interface RankProcess {
  rank: number;
  child: ChildProcess;
  ended: Promise<void>;
  running: boolean;
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The last error that it printed to stderr. */
  lastError: () => string;
}

/** One start of all ranks of this machine. */
export interface Attempt {
  port: number;
  /** How often the ranks were started before. */
  restarts: number;
  /** When the ranks were first started, in milliseconds since 1970. */
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
    // One thread a rank, as in torchrun: more would compete for the cores. libuv's pool reads files and decodes images.
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

/** Starts rank `nodeRank · nproc + localRank`. */
export function startRank(options: LaunchOptions, localRank: number, attempt: Attempt): RankProcess {
  const env = environment(options, localRank, attempt);
  const rank = Number(env.RANK);
  // In a process group of its own: what a rank starts ends with it, and only the launcher passes Ctrl-C on.
  // Without --disable-sigusr1: it blocks the signal, and the rank could not save at it.
  const child = spawn(process.execPath, [...process.execArgv, ...options.argv], {
    env,
    detached: true,
    stdio: ['ignore', rank === 0 ? 'inherit' : 'pipe', 'pipe'],
  });
  // Only rank 0 prints to stdout; the output of the others goes to stderr with a prefix.
  const prefix = rank === 0 ? '' : `[rank ${rank}] `;
  if (child.stdout) forwardLines(child.stdout, process.stderr, prefix);
  const lastError = child.stderr ? forwardLines(child.stderr, process.stderr, prefix, watchdogFailure) : () => '';
  const started: RankProcess = {
    rank,
    child,
    running: true,
    code: null,
    signal: null,
    lastError: () => lastError().replace(/^error: /, ''),
    ended: new Promise((resolve) => {
      child.on('error', (error) => {
        if (child.pid !== undefined) return;
        started.running = false;
        started.lastError = () => `it could not be started: ${error.message}`;
        resolve();
      });
      child.on('exit', (code, signal) => {
        started.running = false;
        started.code = code;
        started.signal = signal;
        // Its last output is still in the pipe, which a process that it started may keep open for ever.
        signalRank(started, 'SIGKILL');
        child.once('close', () => resolve());
        setTimeout(resolve, PIPE_MS).unref();
      });
    }),
  };
  return started;
}

/** Sends `signal` to a rank and to everything that it started. */
export function signalRank({ child }: RankProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended already.
  }
}

export const hasFailed = ({ running, code }: RankProcess) => !running && code !== 0;

/** Whether a rank is suspended, by SIGSTOP or a debugger. */
export function isSuspended({ child, running }: RankProcess): boolean {
  if (!running || child.pid === undefined) return false;
  try {
    return /\) [Tt] /.test(readFileSync(`/proc/${child.pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
