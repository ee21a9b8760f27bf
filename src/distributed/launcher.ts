// Starts the ranks of this machine, as torchrun does, and ends all of them when one fails or on a signal.
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors.js';
import { LOST_RANK, WAITED } from './failures.js';
import { DEFAULT_PORT } from './rank.js';
import {
  type Attempt,
  hasFailed,
  isSuspended,
  type LaunchOptions,
  type RankProcess,
  signalRank,
  startRank,
} from './rank-process.js';
import { exitCodeOf, SAME_SIGNAL_MS, stopSignals } from './signals.js';

export type { LaunchOptions } from './rank-process.js';

/** How long to wait for the failure of the rank to which another one lost its connection. */
const CAUSE_MS = 1_000;

/** The GPUs that there are for ranks; where none, `problem` says why, as a clause. */
interface Gpus {
  count: number;
  problem?: string;
}

/** The number of ranks that `--nproc_per_node` asks for. @throws UserError (exit code 2) for gpu without a GPU */
export function processesPerNode(text: string, { count, problem }: Gpus): number {
  if (text === 'auto') return count > 0 ? count : availableParallelism();
  if (text === 'cpu') return availableParallelism();
  if (text !== 'gpu') return Number(text);
  if (count > 0) return count;
  const why = problem ?? 'LibTorch sees none';
  throw new UserError(`--nproc_per_node gpu needs a GPU, but ${why}. Pass a number or cpu.`, { exitCode: 2 });
}

/** A free port of this machine. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : DEFAULT_PORT));
    });
  });
}

/** The failure that is not a consequence of another. */
function causeOf(failures: readonly RankProcess[]): RankProcess | undefined {
  return failures.find((rank) => !rank.lastError().includes(LOST_RANK)) ?? failures[0];
}

/** Who ends a rank by a signal that nobody has sent. */
const ENDED_BY: Partial<Record<NodeJS.Signals, string>> = {
  SIGKILL: 'the kernel does that when memory is short',
  SIGABRT: 'on GPUs NCCL does that when an exchange takes longer than --collective_timeout, or another rank is gone',
};

/** The ranks that were still running, and those of them that were suspended, when a run was ended. */
interface Remaining {
  running: readonly RankProcess[];
  suspended: readonly RankProcess[];
}

/** The last lines of a failed run. Without a `cause`, some ranks did not end after the others had finished. */
function describeFailure(cause: RankProcess | undefined, { running, suspended: [suspended] }: Remaining): string {
  const name = ({ rank, child }: RankProcess) => `${rank} (pid ${child.pid ?? 'none'})`;
  const said = cause === undefined ? 'The other ranks had finished.' : cause.lastError();
  if (suspended !== undefined && (cause === undefined || said.includes(WAITED)))
    return (
      `error: Rank ${name(suspended)} was suspended (SIGSTOP or a debugger); all ranks were terminated.` +
      `\nerror: First cause, rank ${suspended.rank}: it was suspended. ${said}`
    );
  if (cause === undefined)
    return `error: The other ranks had finished, but rank ${running.map(name).join(' and rank ')} did not end and had to be terminated.`;
  const others = running.length === 1 ? 'rank was' : `${running.length} ranks were`;
  const { code, signal } = cause;
  const end = code === null ? 'did not start' : `ended with exit code ${code}`;
  const does = signal === null ? undefined : ENDED_BY[signal];
  const killed = `was killed by ${signal}${does === undefined ? '' : ` (${does})`}`;
  return (
    `error: Rank ${name(cause)} ${signal === null ? end : killed}` +
    `${running.length > 0 ? `; the other ${others} terminated.` : '.'}` +
    `${said === '' ? '' : `\nerror: First cause, rank ${cause.rank}: ${said}`}`
  );
}

/** The signal that the user sent, over all attempts. */
interface UserSignal {
  signal: NodeJS.Signals | undefined;
}

/** Runs all ranks once. @returns 0, or the first failure's exit code after all have ended */
async function runRanks(options: LaunchOptions, again: Omit<Attempt, 'port'>, user: UserSignal): Promise<number> {
  const { nproc, nnodes = 1, graceMs = 30_000 } = options;
  const port = options.masterPort ?? (nnodes > 1 ? DEFAULT_PORT : await freePort());
  const ranks = Array.from({ length: nproc }, (_, localRank) => startRank(options, localRank, { port, ...again }));
  const failures: RankProcess[] = [];
  let remaining: Remaining | undefined; // undefined as long as no rank has failed
  let killer: NodeJS.Timeout | undefined;
  const killAll = () => {
    for (const rank of ranks) if (rank.running) signalRank(rank, 'SIGKILL');
  };
  const endAll = (signal: NodeJS.Signals) => {
    for (const rank of ranks)
      if (rank.running) {
        signalRank(rank, signal);
        signalRank(rank, 'SIGCONT'); // a suspended rank could not end
      }
    killer ??= setTimeout(killAll, graceMs);
  };
  const endRemaining = () => {
    const running = ranks.filter((rank) => rank.running);
    if (running.length === 0 && failures.length === 0) return; // all have finished
    remaining = { running, suspended: running.filter(isSuspended) };
    endAll('SIGTERM');
  };
  let last = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    if (user.signal === signal && Date.now() - last < SAME_SIGNAL_MS) return;
    last = Date.now();
    user.signal ??= signal;
    endAll(signal);
  };
  const signals = stopSignals();
  for (const signal of signals) process.on(signal, onSignal);
  process.on('exit', killAll);
  let ending: Promise<void> | undefined;
  let lagging: NodeJS.Timeout | undefined;
  await Promise.all(
    ranks.map(async (rank) => {
      await rank.ended;
      if (killer !== undefined) return;
      if (!hasFailed(rank)) {
        lagging ??= setTimeout(endRemaining, graceMs);
        return;
      }
      failures.push(rank);
      // A rank that lost its peer is a consequence: the peer's own failure will be seen soon.
      ending ??= (async () => {
        if (rank.lastError().includes(LOST_RANK)) await sleep(CAUSE_MS);
        endRemaining();
      })();
    }),
  );
  await ending;
  clearTimeout(lagging);
  clearTimeout(killer);
  process.off('exit', killAll);
  for (const signal of signals) process.off(signal, onSignal);
  if (user.signal !== undefined) return ranks.every(({ code }) => code === 0) ? 0 : exitCodeOf(user.signal);
  if (remaining === undefined) return 0;
  const cause = causeOf(failures);
  console.error(describeFailure(cause, remaining));
  return cause?.code === 2 ? 2 : 1;
}

/**
 * Runs `nproc` ranks of `node …argv` with torchrun's environment, and waits until all have ended. If the launcher itself
 * is killed, the ranks end as well (see endWithLauncher).
 * @returns the exit code of the command: 0; 1 after a failure, whose rank, pid and last error are printed (2 if that rank
 * was used wrongly); 130, 143 … after a signal
 */
export async function launch(options: LaunchOptions): Promise<number> {
  const { maxRestarts = 0 } = options;
  const user: UserSignal = { signal: undefined };
  const launchedAt = Date.now();
  for (let restarts = 0; ; restarts++) {
    const code = await runRanks(options, { restarts, launchedAt }, user);
    if (code === 0 || code === 2 || user.signal !== undefined || restarts >= maxRestarts) return code;
    console.error(`Starting the ranks again (${restarts + 1} of at most ${maxRestarts} restarts).`);
  }
}
