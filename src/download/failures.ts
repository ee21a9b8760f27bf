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
  const reason = reasonOf(error);
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
  return tlsFailure(shownUrl(url), error) ?? new TransientError(PLAIN[reason] ?? reason);
}

/** Of what OpenSSL says, the words. */
function reasonOf(error: unknown): string {
  const message = messageOf(error) || codeOf(error) || '';
  return /SSL routines:[^:]*:([^:\n]+)/.exec(message)?.[1] ?? message;
}

/** What is wrong with the encryption of a connection to `whom`, where that is what failed. */
export function tlsFailure(whom: string, error: unknown): UserError | undefined {
  const code = codeOf(error) ?? '';
  const say = (what: string, remedy: string) =>
    new UserError(`${whom} ${what} (${reasonOf(error)}). ${remedy}`, { cause: error });
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return say('has a certificate for other names', 'Check the address, and the proxy if there is one.');
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return say('has a certificate that is not valid today', "Check this machine's clock, or tell its operator.");
  if (code === 'EPROTO' || /^ERR_SSL.*(WRONG_VERSION|UNKNOWN_PROTOCOL|HTTP_REQUEST|PACKET_LENGTH)/.test(code))
    return say('does not answer as https does', 'Check whether its address begins with http:// instead.');
  if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL/.test(code))
    return say(
      'has no certificate that this machine trusts',
      'Set NODE_EXTRA_CA_CERTS to the file of your certificate authority.',
    );
  return undefined;
}
