// What becomes of a failed connection: something that may go away by itself, or a sentence about the network.
import { codeOf, messageOf, UserError } from '../errors.js';
import { type ProxyServer, shownProxy } from './proxy.js';
import { shownUrl } from './url.js';

/** Something that may go away by itself: a dropped connection, a busy server. */
export class TransientError extends Error {
  constructor(
    message: string,
    /** The pause that the server asks for. */
    readonly waitMs?: number,
  ) {
    super(message);
  }
}

/** The connection could not be made at all: trying again seconds later rarely helps, a word about the network does. */
export class UnreachableError extends UserError {}

/** A proxy gave a status in place of a connection. */
export class ProxyRefusal extends Error {
  constructor(readonly status: number) {
    super(`the proxy answers ${status}`);
  }
}

/** The `code` of a connection that nobody answered in time. */
export const CONNECT_TIMEOUT = 'CONNECT_TIMEOUT';

const UNREACHABLE = new Set(['ENOTFOUND', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', CONNECT_TIMEOUT]);

/** Node's words for what servers do. */
const PLAIN: Record<string, string> = {
  aborted: 'the connection broke off',
  'socket hang up': 'the server closed the connection without an answer',
};

/** A UserError where the network is at fault, a TransientError where the connection merely dropped. */
export function connectionFailure(url: URL, error: unknown, proxy?: ProxyServer): Error {
  if (error instanceof UserError || error instanceof TransientError) return error;
  const code = codeOf(error) ?? '';
  const reason = messageOf(error) || code;
  if (proxy !== undefined && error instanceof ProxyRefusal) {
    const remedy =
      error.status === 407 ? 'Give it a user: http://USER:PASSWORD@HOST:PORT.' : 'Check the variable, or NO_PROXY.';
    return new UserError(
      `${shownUrl(url)} cannot be reached: the proxy ${shownProxy(proxy)} answers ${error.status}. ${remedy}`,
      { cause: error },
    );
  }
  // Of a host with several addresses, the code is that of the first; its attempt may have timed out.
  if (UNREACHABLE.has(code) || error instanceof AggregateError) {
    if (proxy !== undefined) {
      return new UnreachableError(
        `${shownUrl(url)} cannot be reached: the proxy ${shownProxy(proxy)} gives no connection (${reason}). Check the variable, or NO_PROXY.`,
        { cause: error },
      );
    }
    return new UnreachableError(
      `${shownUrl(url)} cannot be reached (${reason}). Check the network, and ${url.protocol === 'https:' ? 'HTTPS_PROXY' : 'http_proxy (in lower case, as for curl)'} if there is a proxy.`,
      { cause: error },
    );
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL/.test(code)) {
    return new UserError(
      `${shownUrl(url)} has no certificate that this machine trusts (${reason}). Set NODE_EXTRA_CA_CERTS to the file of ` +
        'your certificate authority.',
      { cause: error },
    );
  }
  return new TransientError(PLAIN[reason] ?? reason);
}
