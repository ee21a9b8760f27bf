// What c10d and Gloo throw, as sentences: who waited for whom, where, and what to do.
import { messageOf, UserError } from '../errors.js';
import type { Rank } from './rank.js';

/** Part of the sentence of a rank that failed only because another one did; the launcher looks for the other. */
export const LOST_RANK = 'lost the connection to another rank';

/** Part of the sentence of a rank that waited in vain; the launcher looks whether another one was stopped. */
export const WAITED = 'waited longer than';

const seconds = (ms: number) => `${Number((ms / 1000).toFixed(1))} s`;

/** Why the ranks did not meet. */
export function meetingFailure(error: unknown, place: Rank, joinTimeoutMs: number): UserError {
  const { rank, worldSize, masterAddr, masterPort } = place;
  const said = messageOf(error);
  const where = `${masterAddr}:${masterPort}`;
  const fail = (sentence: string) => new UserError(sentence, { cause: error });
  if (/EADDRINUSE|address already in use/i.test(said))
    return fail(
      `Port ${masterPort} of ${masterAddr} is in use: choose another with --master_port (MASTER_PORT), or end the run that holds it.`,
    );
  if (/gai error|is not known/i.test(said))
    return fail(`Rank ${rank} does not know the host ${masterAddr}: correct --master_addr (MASTER_ADDR).`);
  const joined = /(\d+)\/(\d+) clients joined/.exec(said)?.[1];
  if (joined !== undefined)
    return fail(
      `Only ${joined} of ${worldSize} ranks met at ${where} within ${seconds(joinTimeoutMs)}: start the others with the same --master_addr and --master_port, and look for what they printed.`,
    );
  if (/client socket has (timed out|failed)|failed to connect/i.test(said))
    return fail(
      `Rank ${rank} of ${worldSize} found no rank 0 at ${where} within ${seconds(joinTimeoutMs)}: start rank 0 there, or correct --master_addr and --master_port (MASTER_ADDR, MASTER_PORT).`,
    );
  if (/time(d)? ?out/i.test(said))
    return fail(
      `Rank ${rank} of ${worldSize} waited ${seconds(joinTimeoutMs)} at ${where} for ranks that did not come: start all of them, and look for what they printed.`,
    );
  if (/connection|broken pipe|recv|peer/i.test(said))
    return fail(`Rank ${rank} ${LOST_RANK} while the ranks met at ${where}: look for what that rank printed.`);
  return fail(`Rank ${rank} of ${worldSize} cannot join the others at ${where}: ${said}.`);
}

/** Why a collective `operation` of a group, or a backward pass that holds some, failed. */
export function collectiveFailure(error: unknown, operation: string, rank: number, timeoutMs: number): unknown {
  const said = messageOf(error);
  if (/time(d)? ?out/i.test(said))
    return new UserError(
      `Rank ${rank} ${WAITED} ${seconds(timeoutMs)} for the other ranks in ${operation}: one of them hangs or is far behind; look for what it printed, or give it more time with a longer --collective_timeout.`,
      { cause: error },
    );
  if (/connection (closed|reset|refused)|broken pipe|socket closed|closed by (remote )?peer/i.test(said))
    return new UserError(`Rank ${rank} ${LOST_RANK} in ${operation}: look for what that rank printed.`, {
      cause: error,
    });
  return error;
}
