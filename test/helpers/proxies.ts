// Proxies on this machine for tests of downloads.
import {
  createServer as createHttpServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

/** The port of `server`, on this machine, until the test ends. */
export async function listen(t: TestContext, server: Server): Promise<number> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

export interface ProxyHere {
  port: number;
  /** What it was asked for, in order. */
  asked: string[];
}

/**
 * An HTTP proxy that wants `login` (user:password) where given, looks every name up as 127.0.0.1, and gives tunnels to no port
 * below 1024. With `tls`, it is spoken to in TLS.
 */
export async function httpProxy(
  t: TestContext,
  { login, tls }: { login?: string; tls?: { key: Buffer; cert: Buffer } } = {},
): Promise<ProxyHere> {
  const asked: string[] = [];
  const right = login === undefined ? undefined : `Basic ${Buffer.from(login).toString('base64')}`;
  const pass = (request: IncomingMessage, response: ServerResponse) => {
    asked.push(`${request.method} ${request.url}`);
    if (right !== request.headers['proxy-authorization']) return response.writeHead(407).end();
    return request.pipe(
      httpRequest(request.url ?? '', { headers: request.headers }, (upstream) => {
        response.writeHead(upstream.statusCode ?? 500, upstream.headers);
        upstream.pipe(response);
      }),
    );
  };
  const server = tls === undefined ? createHttpServer(pass) : createHttpsServer(tls, pass);
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    asked.push(`CONNECT ${request.url}`);
    if (right !== request.headers['proxy-authorization']) return socket.end('HTTP/1.1 407 No\r\n\r\n');
    const port = Number(request.url?.split(':').at(-1));
    if (port < 1024) return socket.end('HTTP/1.1 502 No\r\n\r\n');
    const upstream = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Yes\r\n\r\n');
      socket.pipe(upstream).pipe(socket);
    });
    socket.on('error', () => upstream.destroy());
    return upstream.on('error', () => socket.destroy());
  });
  t.after(() => server.closeAllConnections());
  return { port: await listen(t, server), asked };
}

/** A SOCKS5 proxy that looks every name up as 127.0.0.1; `login` as above, `reply` other than 0 refuses. */
export async function socksProxy(
  t: TestContext,
  { login, reply = 0 }: { login?: string; reply?: number } = {},
): Promise<ProxyHere> {
  const asked: string[] = [];
  const server = createServer((socket) => {
    const fail = () => socket.destroy();
    socket.on('error', fail);
    socket.once('data', (hello) => {
      const method = login === undefined ? 0 : 2;
      const offered = hello.subarray(2).includes(method);
      socket.write(Buffer.of(5, offered ? method : 255));
      const ask = () =>
        socket.once('data', (wanted) => {
          const length = wanted[3] === 3 ? (wanted[4] ?? 0) + 1 : wanted[3] === 4 ? 16 : 4;
          const host =
            wanted[3] === 3 ? wanted.subarray(5, 4 + length).toString() : [...wanted.subarray(4, 4 + length)].join('.');
          const port = wanted.readUInt16BE(4 + length);
          asked.push(`${wanted[3]} ${host}:${port}`);
          if (reply !== 0) return socket.write(Buffer.of(5, reply, 0, 1, 0, 0, 0, 0, 0, 0));
          socket.pause(); // a request that comes before the pipe is there would be lost
          const upstream = connect(port, '127.0.0.1', () => {
            // In two pieces, as a slow network brings it.
            socket.write(Buffer.of(5, 0, 0, 3, 2));
            setTimeout(() => socket.write(Buffer.of(97, 98, 0, 0)), 20);
            setTimeout(() => socket.pipe(upstream).pipe(socket), 100);
          });
          return upstream.on('error', fail);
        });
      if (method === 0 || !offered) ask();
      else
        socket.once('data', (given) => {
          const user = given.subarray(2, 2 + (given[1] ?? 0)).toString();
          const password = given.subarray(3 + (given[1] ?? 0)).toString();
          socket.write(Buffer.of(1, `${user}:${password}` === login ? 0 : 1));
          ask();
        });
    });
  });
  return { port: await listen(t, server), asked };
}
