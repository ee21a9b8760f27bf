// Connections for requests: to the server itself or through a proxy, with TLS where the address is https.
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { CONNECT_TIMEOUT, ProxyRefusal, tlsFailure } from './failures.js';
import { type ProxyServer, shownProxy } from './proxy.js';
import { socksTunnel } from './socks.js';

/** How long the next address of a host waits for the one before: Node's own 250 ms are too short for a satellite. */
const NEXT_ADDRESS_MS = 1000;

/**
 * A connection on which the request for `url` may be written. Plain http is asked of an HTTP proxy itself, as curl does:
 * many tunnel to port 443 only. Everything else goes through a tunnel.
 * @throws what the system says; CONNECT_TIMEOUT as code when `timeoutMs` pass; ProxyRefusal; the reason of `signal`
 */
export async function connectTo(
  url: URL,
  proxy: ProxyServer | undefined,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const limit = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  const made: Socket[] = [];
  const add = (socket: Socket) => {
    socket.on('error', () => undefined); // whoever waits hears of it; a connection that nobody waits for ends nothing
    made.push(socket);
    return socket;
  };
  const stop = () => {
    for (const socket of made.toReversed()) socket.destroy();
  };
  limit.addEventListener('abort', stop);
  try {
    limit.throwIfAborted();
    return await open(url, proxy, add);
  } catch (error) {
    stop();
    signal?.throwIfAborted();
    if (timeout.aborted) throw Object.assign(new Error('no answer'), { code: CONNECT_TIMEOUT });
    throw error;
  } finally {
    limit.removeEventListener('abort', stop);
  }
}

async function open(url: URL, proxy: ProxyServer | undefined, add: (socket: Socket) => Socket): Promise<Socket> {
  const isSecure = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || (isSecure ? 443 : 80));
  const address = { host: proxy?.host ?? host, port: proxy?.port ?? port };
  let socket = add(connect({ ...address, autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS, noDelay: true }));
  await opened(socket, 'connect');
  const secure = async (name: string) => {
    // The check of the certificate takes the name, or the address.
    const options = { socket, host: name, ALPNProtocols: ['http/1.1'], ...(isIP(name) === 0 && { servername: name }) };
    socket = add(connectTls(options));
    await opened(socket, 'secureConnect');
  };
  if (proxy?.scheme === 'https')
    await secure(proxy.host).catch((error: unknown) => {
      throw tlsFailure(`The proxy ${shownProxy(proxy)}`, error) ?? error;
    });
  if (proxy?.scheme === 'socks5' || proxy?.scheme === 'socks5h') await socksTunnel(socket, proxy, host, port);
  else if (proxy !== undefined && isSecure) await httpTunnel(socket, proxy, `${url.hostname}:${port}`);
  if (isSecure) await secure(host);
  return socket;
}

/** Waits for `event`; rejects when the connection fails or ends before. */
async function opened(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  const ended = new AbortController();
  const end = () => ended.abort();
  socket.once('close', end);
  try {
    await once(socket, event, { signal: ended.signal });
  } catch (error) {
    throw ended.signal.aborted ? new Error('the connection was closed') : error;
  } finally {
    socket.off('close', end);
  }
}

/** The header by which an HTTP proxy knows its user. */
export function proxyLogin({ user, password }: ProxyServer): Record<string, string> {
  if (user === undefined) return {};
  return { 'proxy-authorization': `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` };
}

/** Asks the proxy at the other end of `socket` to pass everything on to `authority`, HOST:PORT. @throws ProxyRefusal */
async function httpTunnel(socket: Socket, proxy: ProxyServer, authority: string): Promise<void> {
  const headers = { host: authority, ...proxyLogin(proxy) };
  const asked = request({
    method: 'CONNECT',
    path: authority,
    headers,
    setHost: false,
    createConnection: () => socket,
  });
  const [answer, , rest] = await connected(asked);
  if (answer.statusCode !== 200) throw new ProxyRefusal(answer.statusCode ?? 0);
  if (rest.length > 0) socket.unshift(rest);
}

async function connected(asked: ClientRequest): Promise<[answer: IncomingMessage, socket: Socket, rest: Buffer]> {
  return new Promise((resolve, reject) => {
    asked
      .on('connect', (...told: [IncomingMessage, Socket, Buffer]) => resolve(told))
      .on('error', reject)
      .end();
  });
}
