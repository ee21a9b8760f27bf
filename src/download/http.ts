// One HTTP request of a download: redirects followed with care, every failure sorted into "again" or "never".
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { codeOf, messageOf, UserError } from '../errors.js';

const MOST_REDIRECTS = 10;

/** Something that may go away by itself: a dropped connection, a busy server. */
export class TransientError extends Error {
  constructor(
    message: string,
    /** What the server asks to be waited for. */
    readonly waitMs?: number,
  ) {
    super(message);
  }
}

/** The connection could not be made at all: retrying seconds later rarely helps, a word about the network does. */
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

/** Connections through HTTP_PROXY, HTTPS_PROXY, NO_PROXY when they are set; `idleMs` without a byte ends one. */
export function makeDispatcher(idleMs: number, env: NodeJS.ProcessEnv = process.env): Dispatcher {
  const options = { headersTimeout: idleMs, bodyTimeout: idleMs, connect: { timeout: Math.min(idleMs, 30_000) } };
  const proxied = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'].some((name) => (env[name] ?? '') !== '');
  return proxied ? new EnvHttpProxyAgent(options) : new Agent(options);
}

/** The URL as it may be printed: without user, password and query (which may be signed). */
export function shownUrl(url: string | URL): string {
  const parsed = typeof url === 'string' ? parseUrl(url) : url;
  return `${parsed.origin}${parsed.pathname}`;
}

/** Throws a UserError for what is no http or https URL. */
export function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    const shown = url === undefined ? text.replace(/\/\/[^/@]*@/, '//') : `${url.protocol}//${url.host}${url.pathname}`;
    throw new UserError(`${shown} is no address to download from: give one that begins with https:// or http://`);
  }
  return url;
}

/**
 * GETs `url` and follows its redirects: at most ten, never from https to http, credentials to the first origin only.
 * Gives answers 200, 206 and 416; all others are thrown, as TransientError where another attempt may help, else as UserError.
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
    if (redirects === MOST_REDIRECTS) {
      throw new UserError(`${shownUrl(url)} redirects more than ${MOST_REDIRECTS} times: check the address`);
    }
    if (!URL.canParse(location, current.href)) {
      throw new UserError(`${shownUrl(url)} redirects to something that is no address: check it in a browser`);
    }
    const next = parseUrl(new URL(location, current.href).href);
    if (current.protocol === 'https:' && next.protocol === 'http:') {
      throw new UserError(
        `${shownUrl(url)} redirects from https to ${shownUrl(next)}, which anyone could forge: refused`,
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
  const user = url.username !== '' || url.origin !== first.origin ? url : first;
  const authorization =
    user.username === '' && user.password === ''
      ? {}
      : { authorization: `Basic ${Buffer.from(credentials(user)).toString('base64')}` };
  try {
    const {
      statusCode,
      body,
      headers: received,
    } = await request(target, {
      dispatcher,
      headers: { 'user-agent': 'blip-retrieval', 'accept-encoding': 'identity', ...headers, ...authorization },
      ...(signal === undefined ? {} : { signal }),
    });
    // A body that nobody reads any more must not end the process.
    body.on('error', () => undefined);
    return {
      status: statusCode,
      body,
      header: (name) => {
        const value = received[name];
        return Array.isArray(value) ? value[0] : value;
      },
    };
  } catch (error) {
    throw connectionFailure(url, error);
  }
}

function credentials({ username, password }: URL): string {
  return `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
}

const UNREACHABLE = new Set(['ENOTFOUND', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);

/** A UserError where the network is at fault, a TransientError where the connection merely dropped. */
export function connectionFailure(url: URL, error: unknown): Error {
  const code = codeOf(error) ?? '';
  const reason = messageOf(error) || code;
  if (UNREACHABLE.has(code)) {
    return new UnreachableError(
      `${shownUrl(url)} cannot be reached (${reason}): check the network, and HTTPS_PROXY where there is a proxy`,
      { cause: error },
    );
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL/.test(code)) {
    return new UserError(
      `${shownUrl(url)} has no certificate that this machine trusts (${reason}): name your authority's file in ` +
        'NODE_EXTRA_CA_CERTS',
      { cause: error },
    );
  }
  return new TransientError(reason);
}

function refusal(first: URL, last: URL, answer: HttpAnswer): Error {
  const at = first.href === last.href ? '' : ` (at ${shownUrl(last)})`;
  const what = `${shownUrl(first)} answered ${answer.status}${at}`;
  switch (answer.status) {
    case 404:
    case 410:
      return new UserError(`${what}, there is no such file: check the address`);
    case 401:
    case 403:
    case 407:
      return new UserError(
        `${what}, it may not be had without permission: check the address, or log in and fetch it by hand`,
      );
    case 408:
    case 429:
      return new TransientError(`the server answered ${answer.status}`, retryAfter(answer));
    default:
      if (answer.status >= 500) return new TransientError(`the server answered ${answer.status}`, retryAfter(answer));
      return new UserError(`${what}, which is no file: check the address`);
  }
}

function retryAfter(answer: HttpAnswer): number | undefined {
  const seconds = Number(answer.header('retry-after'));
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 60) * 1000 : undefined;
}
