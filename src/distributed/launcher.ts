// Starts the ranks of this machine, as torchrun does, and ends them all when one fails or the user asks for it.
import { createServer } from 'node:net';
import { availableParallelism, constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors.js';
import { LOST_RANK, WAITED } from './failures.js';
import { DEFAULT_PORT } from './rank.js';
import {
  type Attempt,
  failed,
  isStopped,
  type LaunchOptions,
  type Started,
  signalRank,
  start,
  wordsOf,
} from './rank-process.js';

export type { LaunchOptions } from './rank-process.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** How long to wait for the failure that made another rank lose its connection. */
const CAUSE_MS = 1_000;
/** A signal that comes twice within this time is one: a terminal and npm both send it. */
const SAME_SIGNAL_MS = 1_000;

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

/** The failure that is no consequence of another. */
function causeOf(failures: readonly Started[]): Started | undefined {
  return failures.find((rank) => !rank.lastLine().includes(LOST_RANK)) ?? failures[0];
}

/** Who was still there, and who of them stood still, when the rest of a run was ended. */
interface Rest {
  running: readonly Started[];
  stopped: readonly Started[];
}

/** The last lines of a run that failed; without a `cause`, some ranks did not end when others had done their work. */
function describe(cause: Started | undefined, { running, stopped }: Rest): string {
  const name = ({ rank, child }: Started) => `rank ${rank} (pid ${child.pid ?? 'none'})`;
  const still = stopped[0];
  const waited = cause === undefined ? 'the others had done their work' : wordsOf(cause);
  if (still !== undefined && (cause === undefined || waited.includes(WAITED)))
    return (
      `error: ${name(still)} was stopped (by SIGSTOP, or a debugger) and did not go on; all ranks were ended` +
      `\nerror: first cause, rank ${still.rank}: it stood still when ${waited}`
    );
  if (cause === undefined) return `error: ${running.map(name).join(', ')} did not end when ${waited}, and was ended.`;
  const others = running.length;
  const ended = others > 0 ? `; the other ${others === 1 ? 'rank was' : `${others} ranks were`} ended` : '';
  const { code, signal } = cause;
  const how =
    signal === null
      ? code === null
        ? 'did not start'
        : `ended with exit code ${code}`
      : `was killed by ${signal}${signal === 'SIGKILL' ? ' (the kernel does that when memory is short)' : ''}`;
  return `error: ${name(cause)} ${how}${ended}${waited === '' ? '.' : `\nerror: first cause, rank ${cause.rank}: ${waited}`}`;
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
  let rest: Rest | undefined; // undefined while all is well
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
  const endRest = () => {
    const running = ranks.filter((rank) => rank.running);
    if (running.length === 0 && failures.length === 0) return; // all have done their work
    rest = { running, stopped: running.filter(isStopped) };
    end('SIGTERM');
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
  let lagging: NodeJS.Timeout | undefined;
  await Promise.all(
    ranks.map(async (rank) => {
      await rank.ended;
      if (killer !== undefined) return;
      if (!failed(rank)) {
        lagging ??= setTimeout(endRest, graceMs);
        return;
      }
      failures.push(rank);
      // A rank that lost its peer is a consequence: the peer's own failure is about to be seen.
      ending ??= (async () => {
        if (rank.lastLine().includes(LOST_RANK)) await sleep(CAUSE_MS);
        endRest();
      })();
    }),
  );
  await ending;
  clearTimeout(lagging);
  clearTimeout(killer);
  process.off('exit', killAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
  if (asked.signal !== undefined)
    return ranks.every(({ code }) => code === 0) ? 0 : 128 + constants.signals[asked.signal];
  if (rest === undefined) return 0;
  const cause = causeOf(failures);
  console.error(describe(cause, rest));
  return cause?.code === 2 ? 2 : 1;
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
