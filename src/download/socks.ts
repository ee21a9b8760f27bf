// The way through a SOCKS5 proxy (RFC 1928, with user and password by RFC 1929).
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { isIP, type Socket } from 'node:net';
import { UserError } from '../errors.js';
import { type ProxyServer, shownProxy } from './proxy.js';

const VERSION = 5;
const NO_LOGIN = 0;
const LOGIN = 2;
const REPLIES = [
  '',
  'general failure',
  'not allowed by its rules',
  'network unreachable',
  'host unreachable',
  'connection refused',
  'connection timed out',
  'command not supported',
  'address type not supported',
];

/**
 * Asks the proxy at the other end of `socket` to pass everything on to `host`; with socks5h the proxy looks names up.
 * @throws UserError that names the proxy and what it says
 */
export async function socksTunnel(socket: Socket, proxy: ProxyServer, host: string, port: number): Promise<void> {
  const address = proxy.scheme === 'socks5h' || isIP(host) !== 0 ? host : (await lookup(host)).address;
  await shakeHands(socket, proxy);
  await request(socket, proxy, address, port);
}

async function shakeHands(socket: Socket, proxy: ProxyServer): Promise<void> {
  const { user, password } = proxy;
  socket.write(Uint8Array.of(VERSION, ...(user === undefined ? [1, NO_LOGIN] : [2, NO_LOGIN, LOGIN])));
  const [version, method] = await read(socket, 2, proxy);
  if (version !== VERSION) throw failure(proxy, 'it does not speak SOCKS5');
  if (method === NO_LOGIN) return;
  if (method !== LOGIN || user === undefined)
    throw failure(proxy, 'it asks for a user and password, or for a login of another kind');
  const [name, secret] = [Buffer.from(user), Buffer.from(password)];
  if (name.length > 255 || secret.length > 255) throw failure(proxy, 'the user or password is longer than 255 bytes');
  socket.write(Buffer.concat([Buffer.of(1, name.length), name, Buffer.of(secret.length), secret]));
  const [, status] = await read(socket, 2, proxy);
  if (status !== 0) throw failure(proxy, 'it refuses the user and password');
}

/** CONNECT to an address or, where the proxy is to look it up, a name. */
async function request(socket: Socket, proxy: ProxyServer, host: string, port: number): Promise<void> {
  socket.write(Buffer.concat([Buffer.of(VERSION, 1, 0), encoded(host), Buffer.of(port >> 8, port & 255)]));
  const [, reply = 1, , type] = await read(socket, 4, proxy);
  if (reply !== 0) throw failure(proxy, REPLIES[reply] ?? `reply ${reply}`);
  const [length] = type === 3 ? await read(socket, 1, proxy) : [type === 4 ? 16 : 4];
  await read(socket, (length ?? 0) + 2, proxy); // the address that the proxy has bound, which nobody needs
}

function encoded(host: string): Buffer {
  const family = isIP(host);
  if (family === 4) return Buffer.of(1, ...host.split('.').map(Number));
  if (family === 6) return Buffer.of(4, ...ipv6Bytes(host));
  const name = Buffer.from(host);
  return Buffer.concat([Buffer.of(3, name.length), name]);
}

function ipv6Bytes(address: string): number[] {
  // The URL parser writes the last 32 bits of an IPv4 form as hexadecimal words too.
  const [head = '', tail] = new URL(`http://[${address.replace(/%.*/, '')}]`).hostname.slice(1, -1).split('::');
  const words = (text: string) => (text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16)));
  const [first, last] = [words(head), words(tail ?? '')];
  const zeros = new Array<number>(8 - first.length - last.length).fill(0);
  return [...first, ...zeros, ...last].flatMap((word) => [word >> 8, word & 255]);
}

/** The next `length` bytes. */
async function read(socket: Socket, length: number, proxy: ProxyServer): Promise<Buffer> {
  for (;;) {
    const chunk: unknown = socket.read(length);
    if (chunk instanceof Buffer && chunk.length === length) return chunk;
    if (socket.readableEnded || socket.destroyed || chunk !== null) throw failure(proxy, 'it closes the connection');
    await Promise.race([once(socket, 'readable'), once(socket, 'end'), once(socket, 'close')]);
  }
}

function failure(proxy: ProxyServer, reason: string): UserError {
  return new UserError(
    `The SOCKS proxy ${shownProxy(proxy)} gives no connection: ${reason}. Check the variable, or unset it.`,
  );
}
