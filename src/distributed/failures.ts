// Turns the errors of c10d, Gloo and NCCL into sentences: which rank waited for which, where, and what to do.
import { type ExitCode, isMemoryShort, messageOf, UserError } from '../errors.js';
import type { Rank } from './rank.js';

/** In the sentence of a rank that failed only because another one did; the launcher then looks for the other. */
export const LOST_RANK = 'lost the connection to another rank';

/** In the sentence of a rank whose collective timed out; the launcher then looks for a suspended rank. */
export const WAITED = 'waited longer than';

const seconds = (ms: number) => `${Number((ms / 1000).toFixed(1))} s`;

/** For whom a rank waits before the ranks have met, where, and how long. */
export function waitingLine({ rank, worldSize, masterAddr, masterPort }: Rank, joinTimeoutMs: number): string {
  const most = `for at most ${seconds(joinTimeoutMs)}`;
  if (rank > 0) return `Rank ${rank} of ${worldSize} waits for rank 0 at ${masterAddr}:${masterPort}, ${most}.`;
  const others = worldSize === 2 ? 'rank 1' : `ranks 1 to ${worldSize - 1}`;
  return `Rank 0 of ${worldSize} waits for ${others} at ${masterAddr}:${masterPort}, ${most}.`;
}

/** Why the ranks did not meet. */
export function meetingFailure(error: unknown, self: Rank, joinTimeoutMs: number): UserError {
  const { rank, worldSize, masterAddr, masterPort } = self;
  const said = messageOf(error);
  const address = `${masterAddr}:${masterPort}`;
  const fail = (sentence: string) => new UserError(sentence, { cause: error });
  if (/EADDRINUSE|address already in use/i.test(said))
    return fail(
      `Port ${masterPort} of ${masterAddr} is in use. Choose another \`masterPort\` (MASTER_PORT), or end the run that uses it.`,
    );
  if (/gai error|is not known/i.test(said))
    return fail(`Rank ${rank} cannot find the host ${masterAddr}. Correct \`masterAddr\` (MASTER_ADDR).`);
  const card = /Unable to find address for: (.*?)\.?\s*$/m.exec(said)?.[1];
  if (card !== undefined)
    return fail(
      `Rank ${rank} finds no network interface '${card}' with an address. Correct GLOO_SOCKET_IFNAME ("ip address" lists them), or unset it.`,
    );
  const joined = /(\d+)\/(\d+) clients joined/.exec(said)?.[1];
  if (joined !== undefined)
    return fail(
      `Only ${joined} of ${worldSize} ranks met at ${address} within ${seconds(joinTimeoutMs)}. Start the others with the same \`masterAddr\` and \`masterPort\`, and see what they printed.`,
    );
  if (/client socket has (timed out|failed)|failed to connect/i.test(said))
    return fail(
      `Rank ${rank} of ${worldSize} found no rank 0 at ${address} within ${seconds(joinTimeoutMs)}. Start rank 0 there, or correct \`masterAddr\` and \`masterPort\` (MASTER_ADDR, MASTER_PORT).`,
    );
  if (/time(d)? ?out/i.test(said))
    return fail(
      `Rank ${rank} of ${worldSize} waited ${seconds(joinTimeoutMs)} at ${address}, but other ranks are missing. Start all of them, and see what they printed.`,
    );
  if (/connection|broken pipe|recv|peer/i.test(said))
    return fail(`Rank ${rank} ${LOST_RANK} while the ranks met at ${address}. See what that rank printed.`);
  return fail(`Rank ${rank} of ${worldSize} cannot join the others at ${address}: ${said}.`);
}

function waited(rank: number, timeoutMs: number, operation: string): string {
  return `Rank ${rank} ${WAITED} ${seconds(timeoutMs)} for the other ranks in ${operation}. One of them hangs or is far behind: see what it printed, or allow more time with --collective_timeout.`;
}

function lost(rank: number, operation: string): string {
  return `Rank ${rank} ${LOST_RANK} in ${operation}. See what that rank printed.`;
}

/** Gloo's words for a rank whose process is gone, and NCCL's; the latter also for one whose machine cannot be reached. */
const GONE =
  /connection (closed|reset|refused)|broken pipe|socket closed|closed by (remote )?peer|ncclRemoteError|remote process (has )?exit|communicator (was|is) aborted/i;

/** Why a collective `operation` of a group failed, or a backward pass with collectives in it. */
export function collectiveFailure(error: unknown, operation: string, rank: number, timeoutMs: number): unknown {
  if (isMemoryShort(error)) return error;
  const said = messageOf(error);
  const fail = (sentence: string, exitCode: ExitCode = 1) => new UserError(sentence, { cause: error, exitCode });
  const [, one, other] = /Duplicate GPU detected : rank (\d+) and rank (\d+)/.exec(said) ?? [];
  if (one !== undefined)
    return fail(
      `Rank ${one} and rank ${other} are on the same GPU, and NCCL takes one rank a GPU. Start no more ranks on a machine than it has GPUs (--nproc_per_node gpu), or set \`device\` to cpu.`,
      2,
    );
  if (GONE.test(said)) return fail(lost(rank, operation));
  if (/time(d)? ?out/i.test(said)) return fail(waited(rank, timeoutMs, operation));
  const [, nccl] = /NCCL error.*Last error: ?(.+)$/s.exec(said) ?? /NCCL error(?: in)?: (.+)$/s.exec(said) ?? [];
  if (nccl !== undefined)
    return fail(
      `NCCL failed on rank ${rank} in ${operation}: ${nccl.trim().replace(/\.$/, '')}. Start again with NCCL_DEBUG=WARN in the environment, which prints the cause.`,
    );
  return error;
}

/**
 * The sentence for a line of standard error in which NCCL's watchdog says why it ends the process of a rank: no JavaScript
 * runs there any more. Undefined for any other line.
 */
export function watchdogFailure(line: string): string | undefined {
  if (!/watchdog/i.test(line)) return undefined;
  const rank = Number(/\bRank (\d+)\]/i.exec(line)?.[1] ?? Number.NaN);
  if (Number.isNaN(rank)) return undefined;
  // ALLREDUCE, _ALLGATHER_BASE
  const [, type = 'an exchange'] = /OpType=_?([A-Z]+)/.exec(line) ?? [];
  const operation = type.toLowerCase().replace(/^all\B/, 'all_');
  const timeoutMs = /caught collective operation timeout.*Timeout\(ms\)=(\d+)/.exec(line)?.[1];
  if (timeoutMs !== undefined) return waited(rank, Number(timeoutMs), operation);
  return GONE.test(line) ? lost(rank, operation) : undefined;
}
