// A hundred downloads each from servers that close after the answer, that stall now and then, and behind a proxy: all end
// whole. undici 6 ended the process here ("assert(!this.paused)"). Covers download/http, connect.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DownloadOptions, download } from '#blip/download/download.js';
import { get, makeDispatcher } from '#blip/download/http.js';
import { noise, temporaryFolder } from '../helpers/files.js';

const DOWNLOADS = 100;
const AT_ONCE = 10;

const body = Buffer.from(noise(2_000_000));
const digest = createHash('sha256').update(body).digest('hex');

async function listen(t: TestContext, server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.on('error', () => undefined).on('close', () => sockets.delete(socket)));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.pth`;
}

/** A server of its own making: `reply` gets the number of the request and its Range. */
function rawServer(reply: (socket: Socket, count: number, from: number) => void): Server {
  let count = 0;
  return createServer((socket) => {
    let head = '';
    socket
      .on('error', () => undefined)
      .on('data', (chunk) => {
        head += chunk.toString('latin1');
        if (!head.includes('\r\n\r\n')) return;
        const from = Number(/^range: bytes=(\d+)-/im.exec(head)?.[1] ?? 0);
        head = '';
        reply(socket, ++count, from);
      });
  });
}

/** The head of an answer that has the body from byte `from` on. */
function head(version: '1.0' | '1.1', from: number): string {
  const range = from > 0 ? `Content-Range: bytes ${from}-${body.length - 1}/${body.length}\r\n` : '';
  const length = `Content-Length: ${body.length - from}\r\nETag: "v1"\r\n`;
  const close = version === '1.1' ? 'Connection: close\r\n' : '';
  return `HTTP/${version} ${from > 0 ? '206 Partial' : '200 OK'}\r\n${length}${range}${close}\r\n`;
}

/** Downloads `url` a hundred times, some at once; each is whole, or the test fails. */
async function hundred(t: TestContext, url: string, options: DownloadOptions = {}): Promise<void> {
  const folder = temporaryFolder(t);
  let started = 0;
  const one = async () => {
    while (started < DOWNLOADS) {
      const path = join(folder, `${++started}.pth`);
      await download(url, path, { sha256: digest, backoffMs: 1, ...options });
      rmSync(path);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  assert.equal(started, DOWNLOADS);
}

test('a hundred downloads from a server that closes after the answer, of HTTP/1.0, 1.1, and without a length', async (t) => {
  const server = rawServer((socket, count, from) => {
    const kind = count % 3;
    socket.write(kind === 0 ? 'HTTP/1.0 200 OK\r\n\r\n' : head(kind === 1 ? '1.0' : '1.1', from));
    socket.end(body.subarray(kind === 0 ? 0 : from));
  });
  await hundred(t, await listen(t, server));
});

test('a hundred downloads from a server that stalls now and then, before and in the answer', async (t) => {
  let stalls = 0;
  const server = rawServer((socket, count, from) => {
    const stall = count % 10;
    if (stall === 3) return void stalls++;
    socket.write(head('1.1', from));
    if (stall !== 7) return void socket.end(body.subarray(from));
    stalls++;
    return void socket.write(body.subarray(from, from + 1_000_000));
  });
  await hundred(t, await listen(t, server), { idleMs: 500 });
  assert.ok(stalls > 20, `${stalls}`);
});

test('a hundred downloads behind a proxy that closes after each', async (t) => {
  const origin = rawServer((socket, _count, from) => {
    socket.write(head('1.0', from));
    socket.end(body.subarray(from));
  });
  const url = await listen(t, origin);
  let asked = 0;
  const proxy = createHttpServer((request, response) => {
    asked++;
    const { port } = new URL(request.url ?? '');
    request.resume();
    const upstream = connect(Number(port), '127.0.0.1', () => {
      upstream.write(`GET / HTTP/1.0\r\n${request.headers.range ? `Range: ${request.headers.range}\r\n` : ''}\r\n`);
      response.socket?.on('close', () => upstream.destroy());
      upstream.pipe(response.socket as Socket);
    });
  });
  const dispatcher = makeDispatcher(5000, { http_proxy: (await listen(t, proxy)).replace('/model.pth', '') });
  await hundred(t, url, { dispatcher });
  await dispatcher.destroy();
  assert.ok(asked >= DOWNLOADS);
});

test('what arrived before a connection broke is kept', async (t) => {
  const server = rawServer((socket) => {
    socket.write(head('1.1', 0));
    socket.end(body.subarray(0, 200_000));
  });
  const dispatcher = makeDispatcher(5000, {});
  const { body: chunks } = await get(new URL(await listen(t, server)), { dispatcher });
  let received = 0;
  const read = async () => {
    for await (const chunk of chunks) {
      received += chunk.length;
      await sleep(100); // slower than the server
    }
  };
  await assert.rejects(read(), /the connection broke off/);
  assert.equal(received, 200_000);
  await dispatcher.destroy();
});

test('a server that takes connections and says nothing has a sentence, and is left when a run is stopped', async (t) => {
  const url = await listen(
    t,
    createServer(() => undefined),
  );
  const path = join(temporaryFolder(t), 'model.pth');
  const quick: DownloadOptions = { idleMs: 100, retries: 1, backoffMs: 1 };
  await assert.rejects(download(url, path, quick), /2 attempts in a row failed \(the server sent nothing for 0\.1 s\)/);
  const secure = url.replace('http:', 'https:');
  await assert.rejects(
    download(secure, path, quick),
    /^UserError: https:.* cannot be reached \(no answer\)\. Check the/,
  );
  for (const stopped of [url, secure]) {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 50);
    const { signal } = stop;
    await assert.rejects(download(stopped, path, { signal }), /was stopped\. Run again to continue it\./);
  }
});

test('a proxy that closes, or answers no HTTP, has a sentence', async (t) => {
  for (const [reply, reason] of [
    ['', /the server closed the connection without an answer/],
    ['SSH-2.0-x\r\n', /Parse Error/],
  ] as const) {
    const proxy = await listen(
      t,
      rawServer((socket) => socket.end(reply)),
    );
    const address = proxy.replace('/model.pth', '');
    const dispatcher = makeDispatcher(2000, { http_proxy: address, https_proxy: address });
    for (const url of ['http://example.test/x.pth', 'https://example.test/x.pth']) {
      const path = join(temporaryFolder(t), 'x.pth');
      await assert.rejects(download(url, path, { dispatcher, retries: 0 }), (error: Error) => {
        assert.match(error.message, /example\.test\/x\.pth could not be downloaded/);
        assert.match(error.message, reason);
        return true;
      });
    }
  }
});
