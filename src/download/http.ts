// HTTP requests of downloads: redirects followed with care, every failure sorted into transient or final.
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import { UserError } from '../errors.js';
import { connectTo, proxyLogin } from './connect.js';
import { connectionFailure, ProxyRefusal, TransientError } from './failures.js';
import { type ProxyServer, proxyFor } from './proxy.js';
import { parseUrl, shownUrl } from './url.js';

const MAX_REDIRECTS = 10;
const CONNECT_MS = 30_000;

export interface HttpAnswer {
  status: number;
  /** Its failures are sorted as those of the request are. */
  body: AsyncIterable<Buffer>;
  header(name: string): string | undefined;
  /** Ends the connection: nobody wants the body. */
  discard(): void;
}

export interface HttpRequest {
  method: 'GET' | 'HEAD';
  headers: Record<string, string>;
  signal?: AbortSignal | undefined;
}

/** What makes requests. */
export interface Dispatcher {
  /** One request; redirects are not followed. @throws TransientError, UserError */
  request(url: URL, asked: HttpRequest): Promise<HttpAnswer>;
  /** Ends its connections. */
  destroy(): Promise<void>;
}

/**
 * Connections, through the proxies of the environment where curl would take them (proxy.ts); `idleMs` without a byte ends
 * one. A variable that is of no use becomes a UserError of the first request that needs it.
 */
export function makeDispatcher(idleMs: number, env: NodeJS.ProcessEnv = process.env): Dispatcher {
  return new Requests(idleMs, env);
}

/**
 * Every request has a connection of its own: a download needs few, and one that was kept open may be closed by the server
 * just when it is used again.
 */
class Requests implements Dispatcher {
  readonly #open = new Set<Socket>();

  constructor(
    readonly idleMs: number,
    readonly env: NodeJS.ProcessEnv,
  ) {}

  async request(url: URL, asked: HttpRequest): Promise<HttpAnswer> {
    const proxy = proxyFor(url, this.env);
    try {
      return await this.#request(url, asked, proxy);
    } catch (error) {
      asked.signal?.throwIfAborted();
      throw connectionFailure(url, error, proxy);
    }
  }

  async #request(url: URL, asked: HttpRequest, proxy: ProxyServer | undefined): Promise<HttpAnswer> {
    const { method, headers, signal } = asked;
    const socket = await connectTo(url, proxy, Math.min(this.idleMs, CONNECT_MS), signal);
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    const ofProxy = url.protocol === 'http:' && (proxy?.scheme === 'http' || proxy?.scheme === 'https');
    const sent = request({
      method,
      path: `${ofProxy ? url.origin : ''}${url.pathname}${url.search}`,
      headers: { host: url.host, connection: 'close', ...headers, ...(ofProxy && proxyLogin(proxy)) },
      setHost: false,
      createConnection: () => socket,
      ...(signal !== undefined && { signal }),
    });
    const response = await answerTo(sent, this.idleMs);
    const status = response.statusCode ?? 0;
    if (ofProxy && status === 407) {
      response.destroy();
      throw new ProxyRefusal(status);
    }
    return {
      status,
      body: chunksOf(response, url, this.idleMs),
      header: (name) => [response.headers[name]].flat()[0],
      discard: () => response.destroy(),
    };
  }

  async destroy(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
  }
}

/** The head of the answer. */
function answerTo(sent: ClientRequest, idleMs: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => sent.destroy(silent(idleMs)), idleMs);
    sent.once('response', (response) => {
      clearTimeout(timer);
      response.on('error', () => undefined); // a body that nobody reads any more must not end the process
      // Node takes a body without a length for complete when its connection breaks.
      sent.on('error', (error) => response.destroy(error));
      resolve(response);
    });
    sent.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    sent.end();
  });
}

async function* chunksOf(response: IncomingMessage, url: URL, idleMs: number): AsyncGenerator<Buffer> {
  const wait = () => setTimeout(() => response.destroy(silent(idleMs)), idleMs);
  let timer = wait();
  try {
    for await (const chunk of response) {
      clearTimeout(timer); // while the chunk is written, it is not the server that is slow
      yield chunk;
      timer = wait();
    }
  } catch (error) {
    // What has arrived counts, or a server that breaks off early might never get beyond the same byte.
    for (let chunk: unknown = response.read(); chunk instanceof Buffer; chunk = response.read()) yield chunk;
    throw connectionFailure(url, error);
  } finally {
    clearTimeout(timer);
    response.destroy();
  }
}

const silent = (idleMs: number) => new TransientError(`the server sent nothing for ${idleMs / 1000} s`);

export interface RequestOptions {
  dispatcher: Dispatcher;
  method?: HttpRequest['method'];
  headers?: Record<string, string>;
  /** The header of that name, for the first origin only. */
  authorization?: string | undefined;
  signal?: AbortSignal | undefined;
  /** Whether a redirect is an answer as others are, not to be followed to `next` (undefined: to no address). */
  stopAt?: ((answer: HttpAnswer, next: URL | undefined) => boolean) | undefined;
}

/**
 * GETs `url` and follows its redirects as `ask` does. Returns answers 200, 206 and 416; throws a TransientError for others
 * where another attempt may help, else a UserError.
 */
export async function get(url: URL, options: RequestOptions): Promise<HttpAnswer> {
  const { answer, from } = await ask(url, options);
  const { status } = answer;
  if (status === 200 || status === 206 || status === 416) return answer;
  answer.discard();
  throw refusal(url, from, answer);
}

/**
 * Requests `url` and follows its redirects: at most ten, never from https to http, credentials to the first origin only.
 * Gives the last answer, whatever its status, and the address that it is from.
 * @throws TransientError, UserError
 */
export async function ask(url: URL, options: RequestOptions): Promise<{ answer: HttpAnswer; from: URL }> {
  let current = url;
  for (let redirects = 0; ; redirects++) {
    const answer = await send(current, url, options);
    const location = answer.header('location');
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return { answer, from: current };
    const target = URL.canParse(location, current.href) ? new URL(location, current.href) : undefined;
    if (options.stopAt?.(answer, target) === true) return { answer, from: current };
    answer.discard();
    if (redirects === MAX_REDIRECTS) {
      throw new UserError(`${shownUrl(url)} redirects more than ${MAX_REDIRECTS} times. Check the address.`);
    }
    if (target === undefined) {
      throw new UserError(`${shownUrl(url)} redirects to an invalid address. Check it in a browser.`);
    }
    const next = parseUrl(target.href);
    if (current.protocol === 'https:' && next.protocol === 'http:') {
      throw new UserError(
        `${shownUrl(url)} redirects from https to ${shownUrl(next)}, which anyone could forge. Find an https address.`,
      );
    }
    current = next;
  }
}

async function send(url: URL, first: URL, options: RequestOptions): Promise<HttpAnswer> {
  const { dispatcher, method = 'GET', headers, authorization, signal } = options;
  const target = new URL(url.href);
  target.username = '';
  target.password = '';
  target.hash = '';
  const isFirst = url.origin === first.origin;
  const { username, password } = url.username !== '' || !isFirst ? url : first;
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const basic = credentials === ':' ? undefined : `Basic ${Buffer.from(credentials).toString('base64')}`;
  const login = basic ?? (isFirst ? authorization : undefined);
  return dispatcher.request(target, {
    method,
    headers: {
      'user-agent': 'blip-retrieval',
      'accept-encoding': 'identity',
      ...headers,
      ...(login !== undefined && { authorization: login }),
    },
    signal,
  });
}

function refusal(first: URL, last: URL, answer: HttpAnswer): Error {
  const where = first.href === last.href ? '' : ` (at ${shownUrl(last)})`;
  const what = `${shownUrl(first)} answered ${answer.status}${where}`;
  const passing = passingRefusal(answer);
  if (passing !== undefined) return passing;
  switch (answer.status) {
    case 404:
    case 410:
      return new UserError(`${what}: there is no such file. Check the address.`);
    case 401:
    case 403:
    case 407:
      return new UserError(`${what}: access denied. Check the address, or log in and download the file by hand.`);
    default:
      return new UserError(`${what}: unexpected status. Check the address.`);
  }
}

/** The error for a status that another attempt may not meet; undefined for others. */
export function passingRefusal(answer: HttpAnswer): TransientError | undefined {
  const { status } = answer;
  if (status !== 408 && status !== 429 && status < 500) return undefined;
  return new TransientError(`the server answered ${status}`, retryAfter(answer));
}

/** `Retry-After: 5`, or the `t=5` of the header RateLimit. */
function retryAfter(answer: HttpAnswer): number | undefined {
  const given = answer.header('retry-after') ?? /\bt=(\d+)/.exec(answer.header('ratelimit') ?? '')?.[1];
  const seconds = Number(given);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 60) * 1000 : undefined;
}
