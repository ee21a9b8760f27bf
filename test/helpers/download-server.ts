// An HTTP server on this machine for tests of downloads: ranges and validators as good servers have them, or as a test says.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

export const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff));
export const digest = createHash('sha256').update(content).digest('hex');

export type Handler = (request: IncomingMessage, response: ServerResponse, attempt: number) => void;

export interface Server {
  url: string;
  requests: IncomingMessage[];
}

export async function serve(t: TestContext, handler: Handler): Promise<Server> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response, requests.length);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/models/file.pth`, requests };
}

/** Answers that stop in the middle, and the position in the file where each does. */
const stalled = new Map<ServerResponse, number>();

/**
 * Breaks the connections whose bytes have all been received: for `onProgress`. Were they broken by a clock, a slow client
 * would lose what it had not read yet.
 */
export function breakConnections(received: number): void {
  for (const [response, stopAt] of stalled) {
    if (received < stopAt) continue;
    stalled.delete(response);
    response.destroy();
  }
}

/** Answers as good servers do, with ranges; at byte `stopAt` of the file it falls silent, until breakConnections. */
export function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: { etag?: string; stopAt?: number | undefined } = {},
): void {
  const { etag = '"v1"', stopAt } = options;
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
  const same = request.headers['if-range'] === etag;
  const from = range !== null && same ? Number(range[1]) : 0;
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': content.length - from,
    'content-type': 'application/octet-stream',
    etag,
    ...(from > 0 ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {}),
  });
  send(response, from, stopAt);
}

/** The body from byte `from` of the file on. */
export function send(response: ServerResponse, from: number, stopAt?: number): void {
  if (stopAt === undefined) {
    response.end(content.subarray(from));
  } else {
    response.write(content.subarray(from, stopAt));
    stalled.set(response, stopAt);
  }
}
