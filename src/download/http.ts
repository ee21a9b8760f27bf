// One HTTP request of a download: redirects followed with care, every failure sorted into transient or final.
import { isIP } from 'node:net';
import { Agent, type buildConnector, Dispatcher, Pool, ProxyAgent, request } from 'undici';
import { codeOf, messageOf, UserError } from '../errors.js';
import { type ProxyServer, proxyFor, shownProxy } from './proxy.js';
import { socksConnector } from './socks.js';

const MAX_REDIRECTS = 10;

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

export interface HttpAnswer {
  status: number;
  body: AsyncIterable<Buffer> & { dump(): Promise<void> };
  header(name: string): string | undefined;
}

export interface RequestOptions {
  dispatcher: Dispatcher;
  signal?: AbortSignal | undefined;
  headers: Record<string, string>;
}

/**
 * Connections, through the proxies of the environment where curl would take them (proxy.ts); `idleMs` without a byte ends
 * one. A variable that is of no use becomes a UserError of the first request that needs it.
 */
export function makeDispatcher(idleMs: number, env: NodeJS.ProcessEnv = process.env): Dispatcher {
  return new ByProxy(idleMs, env);
}

class ByProxy extends Dispatcher {
  readonly #made = new Map<string, Dispatcher>();

  constructor(
    readonly idleMs: number,
    readonly env: NodeJS.ProcessEnv,
  ) {
    super();
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandlers): boolean {
    return this.#dispatcher(new URL(String(options.origin))).dispatch(options, handler);
  }

  /** For messages: the proxy that `url` is asked for through. */
  proxyOf(url: URL): ProxyServer | undefined {
    return proxyFor(url, this.env);
  }

  #dispatcher(origin: URL): Dispatcher {
    const proxy = proxyFor(origin, this.env);
    const key = proxy === undefined ? '' : `${proxy.scheme}:${shownProxy(proxy)}`;
    const dispatcher = this.#made.get(key) ?? this.#make(proxy);
    this.#made.set(key, dispatcher);
    return dispatcher;
  }

  #make(proxy: ProxyServer | undefined): Dispatcher {
    const timeout = Math.min(this.idleMs, 30_000);
    const options = { headersTimeout: this.idleMs, bodyTimeout: this.idleMs, connect: { timeout } };
    if (proxy === undefined) return new Agent(options);
    const { scheme, host, port, user, password } = proxy;
    if (scheme === 'socks5' || scheme === 'socks5h')
      return new Agent({ ...options, connect: socksConnector(proxy, timeout) });
    return new ProxyAgent({
      ...options,
      uri: `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`,
      proxyTunnel: false, // plain http is asked of the proxy itself, as curl does: many tunnel to port 443 only
      proxyTls: { timeout },
      clientFactory: (origin, given) => {
        const { connect } = given as { connect: buildConnector.connector };
        return new Pool(origin, { connect: toProxy(proxy, connect) });
      },
      ...(user === undefined ? {} : { token: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` }),
    });
  }

  override async close(): Promise<void> {
    for (const dispatcher of this.#made.values()) await dispatcher.close();
  }

  override async destroy(): Promise<void> {
    for (const dispatcher of this.#made.values()) await dispatcher.destroy();
  }
}

/** Connections to the proxy itself: an address is no name that TLS may ask for, and a failure is the proxy's. */
function toProxy(proxy: ProxyServer, connect: buildConnector.connector): buildConnector.connector {
  const shown = `The proxy ${shownProxy(proxy)}`;
  return ({ servername, ...options }, callback) =>
    connect(
      { ...options, ...(servername === undefined || isIP(servername) !== 0 ? {} : { servername }) },
      (...result) => {
        const [error, socket] = result;
        if (error === null) callback(null, socket);
        else callback(tlsFailure(shown, error) ?? error, null);
      },
    );
}

/** The URL as it may be printed: without user, password and query (which may be signed). */
export function shownUrl(url: string | URL): string {
  const parsed = typeof url === 'string' ? parseUrl(url) : url;
  return `${parsed.origin}${parsed.pathname}`;
}

/** @throws UserError for anything but an http or https URL */
export function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    const shown = url === undefined ? text.replace(/\/\/[^/@]*@/, '//') : `${url.protocol}//${url.host}${url.pathname}`;
    throw new UserError(`${shown} is not an address to download from. Give one that starts with https:// or http://.`);
  }
  return url;
}

/**
 * GETs `url` and follows its redirects: at most ten, never from https to http, credentials to the first origin only.
 * Returns answers 200, 206 and 416; throws a TransientError for others where another attempt may help, else a UserError.
 */
export async function get(url: URL, options: RequestOptions): Promise<HttpAnswer> {
  let current = url;
  for (let redirects = 0; ; redirects++) {
    const answer = await send(current, url, options);
    const { status } = answer;
    if (status === 200 || status === 206 || status === 416) return answer;
    await answer.body.dump().catch(() => undefined);
    const location = answer.header('location');
    if (![301, 302, 303, 307, 308].includes(status) || location === undefined) throw refusal(url, current, answer);
    if (redirects === MAX_REDIRECTS) {
      throw new UserError(`${shownUrl(url)} redirects more than ${MAX_REDIRECTS} times. Check the address.`);
    }
    if (!URL.canParse(location, current.href)) {
      throw new UserError(`${shownUrl(url)} redirects to an invalid address. Check it in a browser.`);
    }
    const next = parseUrl(new URL(location, current.href).href);
    if (current.protocol === 'https:' && next.protocol === 'http:') {
      throw new UserError(
        `${shownUrl(url)} redirects from https to ${shownUrl(next)}, which anyone could forge. Find an https address.`,
      );
    }
    current = next;
  }
}

async function send(url: URL, first: URL, { dispatcher, signal, headers }: RequestOptions): Promise<HttpAnswer> {
  const target = new URL(url.href);
  target.username = '';
  target.password = '';
  target.hash = '';
  const { username, password } = url.username !== '' || url.origin !== first.origin ? url : first;
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const authorization =
    credentials === ':' ? {} : { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
  try {
    const answer = await request(target, {
      dispatcher,
      headers: { 'user-agent': 'blip-retrieval', 'accept-encoding': 'identity', ...headers, ...authorization },
      ...(signal === undefined ? {} : { signal }),
    });
    // A body that nobody reads any more must not end the process.
    answer.body.on('error', () => undefined);
    return {
      status: answer.statusCode,
      body: answer.body,
      header: (name) => [answer.headers[name]].flat()[0],
    };
  } catch (error) {
    throw connectionFailure(url, error, dispatcher instanceof ByProxy ? dispatcher.proxyOf(url) : undefined);
  }
}

const UNREACHABLE = new Set(['ENOTFOUND', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);

/** A UserError where the network is at fault, a TransientError where the connection merely dropped. */
export function connectionFailure(url: URL, error: unknown, proxy?: ProxyServer): Error {
  if (error instanceof UserError) return error;
  const code = codeOf(error) ?? '';
  const reason = reasonOf(error);
  const [, status] = /Proxy (?:response|Authentication Required) \((\d+)\)/.exec(reason) ?? [];
  if (proxy !== undefined && status !== undefined) {
    const login = status === '407' ? ' Give it a user: http://USER:PASSWORD@HOST:PORT.' : '';
    return new UserError(
      `${shownUrl(url)} cannot be reached: the proxy ${shownProxy(proxy)} answers ${status}.${login || ' Check the variable, or NO_PROXY.'}`,
      { cause: error },
    );
  }
  if (UNREACHABLE.has(code)) {
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
  return tlsFailure(shownUrl(url), error) ?? new TransientError(reason);
}

/** Of what OpenSSL says, the words. */
function reasonOf(error: unknown): string {
  const message = messageOf(error) || codeOf(error) || '';
  return /SSL routines:[^:]*:([^:\n]+)/.exec(message)?.[1] ?? message;
}

/** What is wrong with the encryption of a connection to `whom`, where that is what failed. */
function tlsFailure(whom: string, error: unknown): UserError | undefined {
  const code = codeOf(error) ?? '';
  const say = (what: string, remedy: string) =>
    new UserError(`${whom} ${what} (${reasonOf(error)}). ${remedy}`, { cause: error });
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return say('has a certificate for other names', 'Check the address, and the proxy if there is one.');
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return say('has a certificate that is not valid today', "Check this machine's clock, or tell its operator.");
  if (code === 'EPROTO' || /^ERR_SSL.*(WRONG_VERSION|UNKNOWN_PROTOCOL|HTTP_REQUEST|PACKET_LENGTH)/.test(code))
    return say('does not answer as https does', 'Check whether its address begins with http:// instead.');
  if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS/.test(code))
    return say(
      'has no certificate that this machine trusts',
      'Set NODE_EXTRA_CA_CERTS to the file of your certificate authority.',
    );
  return undefined;
}

function refusal(first: URL, last: URL, answer: HttpAnswer): Error {
  const where = first.href === last.href ? '' : ` (at ${shownUrl(last)})`;
  const what = `${shownUrl(first)} answered ${answer.status}${where}`;
  switch (answer.status) {
    case 404:
    case 410:
      return new UserError(`${what}: there is no such file. Check the address.`);
    case 401:
    case 403:
    case 407:
      return new UserError(`${what}: access denied. Check the address, or log in and download the file by hand.`);
    case 408:
    case 429:
      return new TransientError(`the server answered ${answer.status}`, retryAfter(answer));
    default:
      if (answer.status >= 500) return new TransientError(`the server answered ${answer.status}`, retryAfter(answer));
      return new UserError(`${what}: unexpected status. Check the address.`);
  }
}

function retryAfter(answer: HttpAnswer): number | undefined {
  const seconds = Number(answer.header('retry-after'));
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 60) * 1000 : undefined;
}
