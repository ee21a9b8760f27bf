// Starts the processes of a test, Node's and Python's, and collects what they say.
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { LaunchOptions } from '#blip/distributed/launcher.js';
import { projectRoot } from './fixtures.js';

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Running {
  pid: number;
  ended: Promise<Ended>;
  /** Resolves once stdout holds `text`; rejects when the process ends before. */
  says(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
}

const compiled = (name: string) => join(projectRoot, '.build/test/distributed', name);

// What the shell around a test run may hold must not reach the ranks.
const LAUNCH_VARIABLES =
  /^(RANK|WORLD_SIZE|LOCAL_RANK|MASTER_ADDR|MASTER_PORT|SLURM_.*|TORCHELASTIC_.*|NODE_TEST_CONTEXT|_|BLIP_HANGUP)$/;
const surrounding = Object.fromEntries(Object.entries(process.env).filter(([name]) => !LAUNCH_VARIABLES.test(name)));

export function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const child = spawn(command, args, {
    env: { OMP_NUM_THREADS: '1', ...surrounding, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  let over = false;
  const listeners = new Set<() => void>();
  const tell = () => {
    for (const listener of listeners) listener();
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    tell();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      over = true;
      tell();
      resolve({ code, signal, stdout, stderr });
    });
  });
  return {
    pid: child.pid ?? 0,
    ended,
    says: (text) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (stdout.includes(text)) resolve();
          else if (over) reject(new Error(`the process ended without saying ${text}: ${stdout}${stderr}`));
          else return;
          listeners.delete(look);
        };
        listeners.add(look);
        look();
      }),
    kill: (signal) => void child.kill(signal),
  };
}

// Elsewhere for each test file, so that two that run at once do not offer the same.
let nextPort = 10_000 + ((process.pid * 131) % 20_000);

/**
 * A port of this machine that nobody listens at. It lies below those that the system gives to connections and to whoever asks
 * for any (32768 and up, unless it is set otherwise): one of those could be given away again before a rank listens there.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = nextPort++;
    const server = createServer();
    const listens = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!listens) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Variables of one of two ranks at a port of this machine. */
export function rankVariables(rank: number, port: number): NodeJS.ProcessEnv {
  return {
    RANK: String(rank),
    WORLD_SIZE: '2',
    LOCAL_RANK: String(rank),
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: String(port),
    GLOO_SOCKET_IFNAME: 'lo',
  };
}

/** A Node rank that does `task` of worker.ts. */
export function nodeRank(task: string, rank: number, port: number, env: NodeJS.ProcessEnv = {}): Running {
  return start(process.execPath, [compiled('worker.js'), task], { ...rankVariables(rank, port), ...env });
}

/** A Python rank that does `task` of peer.py. */
export function pythonRank(python: string, task: string, rank: number, port: number): Running {
  return start(python, [join(projectRoot, 'test/distributed/peer.py'), task], rankVariables(rank, port));
}

/** Two Node ranks that run `script` of this folder. */
export async function bothRun<T>(script: string, args: readonly string[]): Promise<[T, T]> {
  const port = await freePort();
  const run = (rank: number) => start(process.execPath, [compiled(script), ...args], rankVariables(rank, port));
  return results<T>([run(0), run(1)]);
}

/** Both ranks do `task`; what each printed as JSON, in rank order. Throws what a rank that failed said. */
export async function bothRanks<T>(task: string, env: NodeJS.ProcessEnv = {}): Promise<[T, T]> {
  const port = await freePort();
  return results<T>([nodeRank(task, 0, port, env), nodeRank(task, 1, port, env)]);
}

export async function results<T>(ranks: [Running, Running]): Promise<[T, T]> {
  const [first, second] = await Promise.all(
    ranks.map(async (rank) => {
      const { code, signal, stdout, stderr } = await rank.ended;
      if (code !== 0) throw new Error(`a rank ended with ${code ?? signal}: ${stdout}${stderr}`);
      const parsed: T = JSON.parse(stdout);
      return parsed;
    }),
  );
  return [first as T, second as T];
}

/** A Python with torch, or why there is none. */
export function pythonWithTorch(): { python: string } | { absent: string } {
  const python = process.env.BLIP_TEST_PYTHON ?? 'python3';
  const trial = spawnSync(python, ['-c', 'import torch.distributed as d; assert d.is_gloo_available()'], {
    encoding: 'utf8',
  });
  return trial.status === 0
    ? { python }
    : { absent: `${python} has no torch with Gloo: set BLIP_TEST_PYTHON to a Python that has` };
}

/** Whether a process is there that is not just waiting to be collected. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** The processes that `pid` has started and that are there. */
export function childrenOf(pid: number): number[] {
  const parent = (child: string) => {
    try {
      return Number(/\) \S (\d+) /.exec(readFileSync(`/proc/${child}/stat`, 'utf8'))?.[1]);
    } catch {
      return 0;
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && parent(name) === pid)
    .map(Number);
}

/** Runs launcher-run.ts: the launcher with `nproc` ranks that do `task` of worker.ts. */
export function startLauncher(
  nproc: number,
  task: string,
  options: Omit<LaunchOptions, 'nproc' | 'argv'> = {},
  env: NodeJS.ProcessEnv = {},
): Running {
  const all: LaunchOptions = { nproc, argv: [compiled('worker.js'), task], ...options };
  return start(process.execPath, [compiled('launcher-run.js'), JSON.stringify(all)], env);
}
