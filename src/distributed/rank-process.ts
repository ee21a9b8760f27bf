// One rank's process: the environment it gets, what it prints, how it ended, and signals for it and all that it started.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { passLines } from './lines.js';
import { LAUNCHED_AT } from './rank.js';

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
  /**
   * How long ranks have to end by themselves: after SIGTERM or the user's signal, before SIGKILL; and after the first
   * that has done its work, which ends only when the others have, or when it has waited for them in vain.
   */
  graceMs?: number;
}

/** How long to wait for the last lines of a rank that has ended. */
const PIPE_MS = 2_000;

/** A rank's process. */
export interface Started {
  rank: number;
  child: ChildProcess;
  ended: Promise<void>;
  running: boolean;
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The last line on stderr that says something. */
  lastLine: () => string;
}

/** One of the times that all ranks of this machine are started. */
export interface Attempt {
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

/** Starts rank `nodeRank · nproc + localRank`. */
export function start(options: LaunchOptions, localRank: number, attempt: Attempt): Started {
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
export function signalRank({ child }: Started, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended.
  }
}

export const failed = (rank: Started) => !rank.running && rank.code !== 0;

/** Whether a rank stands still: SIGSTOP, or a debugger. */
export function isStopped({ child, running }: Started): boolean {
  if (!running || child.pid === undefined) return false;
  try {
    return /\) [Tt] /.test(readFileSync(`/proc/${child.pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** What a rank said last. */
export const wordsOf = (rank: Started) => rank.lastLine().replace(/^error: /, '');
