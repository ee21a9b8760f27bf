// One HTTP request of a download: redirects followed with care, every failure sorted into transient or final.
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { codeOf, messageOf, UserError } from '../errors.js';

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

/** Connections through HTTP_PROXY, HTTPS_PROXY, NO_PROXY when they are set; `idleMs` without a byte ends one. */
export function makeDispatcher(idleMs: number, env: NodeJS.ProcessEnv = process.env): Dispatcher {
  const options = { headersTimeout: idleMs, bodyTimeout: idleMs, connect: { timeout: Math.min(idleMs, 30_000) } };
  const proxied = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'].some((name) => Boolean(env[name]));
  return proxied ? new EnvHttpProxyAgent(options) : new Agent(options);
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
    throw connectionFailure(url, error);
  }
}

const UNREACHABLE = new Set(['ENOTFOUND', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);

/** A UserError where the network is at fault, a TransientError where the connection merely dropped. */
export function connectionFailure(url: URL, error: unknown): Error {
  const code = codeOf(error) ?? '';
  const reason = messageOf(error) || code;
  if (UNREACHABLE.has(code)) {
    return new UnreachableError(
      `${shownUrl(url)} cannot be reached (${reason}). Check the network, and HTTPS_PROXY if there is a proxy.`,
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
  return new TransientError(reason);
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
