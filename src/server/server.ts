// The HTTP server: what it listens on, which route a request takes, what every answer has, and how it stops.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { codeOf, messageOf, printable, UserError } from '../errors.js';
import { Bodies } from './body.js';
import { ImageFiles, type Picture } from './files.js';
import { isLoopback, makeGate } from './gate.js';
import { answerTo, HttpError } from './http-error.js';
import { Metrics } from './metrics.js';
import { openApi } from './openapi.js';
import { GRACE, MAX_CONNECTIONS, MAX_HITS, MAX_RERANK, type ServeOptions } from './options.js';
import { makePage } from './page.js';
import { RerankCost } from './rerank-cost.js';
import { type ApiHandler, type ApiParts, embed, embeddings, rerank, search } from './routes.js';
import { makeSchemas } from './schemas.js';
import type { Service } from './service.js';
import { WorkQueue } from './work-queue.js';

export interface RunningServer {
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** Takes no more requests; those under way have ten seconds. A second call does nothing more. */
  close(): Promise<void>;
}

const API: Readonly<Record<string, ApiHandler>> = {
  '/search': search,
  '/embed': embed,
  '/rerank': rerank,
  '/v1/embeddings': embeddings,
};

interface Answer {
  type: string;
  body: string | Buffer;
  headers?: Readonly<Record<string, string>>;
  /** 200 where it is left out. */
  status?: number;
}

const HEADERS = {
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer', // addresses have what was searched for
  'Cross-Origin-Resource-Policy': 'same-origin', // no other site shows these images
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
};

const asJson = (value: unknown): Answer => ({ type: 'application/json', body: JSON.stringify(value) });

/** @throws UserError where it cannot listen there */
export async function startServer(service: Service, options: ServeOptions, version: string): Promise<RunningServer> {
  const { index, model } = service;
  const { host, port, token, maxBody, maxBatch, timeout, print } = options;
  const schemas = makeSchemas(maxBatch, model.embedDim);
  const files = new ImageFiles(index, options.maxPixels);
  const cost = new RerankCost();
  const parts: ApiParts = { service, schemas, files, cost };
  const gate = makeGate(host, token, options.allowedHosts);
  const bodies = new Bodies(maxBody);
  const queue = new WorkQueue(options.queue);
  const metrics = new Metrics();
  const page = makePage();
  const api = JSON.stringify(openApi(schemas, version, token !== undefined));
  const stopping = new AbortController();
  let isStopping = false;

  const gauges = () => [
    { name: 'blip_requests_active', help: 'Requests that compute or wait to.', value: queue.active },
    { name: 'blip_requests_limit', help: 'How many there may be.', value: options.queue },
    { name: 'blip_retriever_pending', help: 'Unfinished calls of the model.', value: model.pending },
    { name: 'blip_index_images', help: 'Images of the index.', value: index.size },
  ];
  const info = () => ({
    ...{ name: shortName(index.name), size: index.size, model: shortName(model.source), device: model.device },
    ...{ precision: model.precision, embed_dim: model.embedDim, image_size: model.imageSize },
    keeps_tokens: index.facts.keepsTokens,
    rerank_ms: cost.ms,
    limits: { max_body: maxBody, max_batch: maxBatch, max_rerank: MAX_RERANK, max_k: MAX_HITS },
  });
  const picture = async (request: IncomingMessage, query: URLSearchParams, read: (id: string) => Promise<Picture>) => {
    const { bytes, type, etag } = await read(query.get('id') ?? '');
    const headers = { ETag: etag, 'Cache-Control': 'private, no-cache' };
    if (request.headers['if-none-match'] === etag) return { type, body: '', headers, status: 304 };
    return { type, body: bytes, headers };
  };
  /** GET routes. Those of `open` need no token. */
  const open: Record<string, () => Answer> = {
    '/': () => ({
      type: 'text/html; charset=utf-8',
      body: page.html,
      headers: { 'Content-Security-Policy': page.policy },
    }),
    '/health': () => {
      if (isStopping) throw new HttpError(503, 'The server stops.');
      return asJson({ status: 'ok' });
    },
  };
  const closed: Record<string, (request: IncomingMessage, query: URLSearchParams) => Answer | Promise<Answer>> = {
    '/info': () => asJson(info()),
    '/metrics': () => ({ type: 'text/plain; version=0.0.4; charset=utf-8', body: metrics.text(gauges()) }),
    '/openapi.json': () => ({ type: 'application/json', body: api }),
    '/thumbnail': (request, query) => picture(request, query, (id) => files.thumbnail(id)),
    '/image': (request, query) => picture(request, query, (id) => files.image(id)),
  };

  async function answer(request: IncomingMessage, response: ServerResponse, path: string, query: URLSearchParams) {
    gate.checkOrigin(request);
    const handler = API[path];
    const isGet = request.method === 'GET' || request.method === 'HEAD';
    const isKnown = handler !== undefined || path in open || path in closed;
    if (!isKnown) throw new HttpError(404, 'There is nothing here. /openapi.json lists what there is.');
    const fitting = handler === undefined ? isGet : request.method === 'POST';
    if (!fitting) {
      const allow = handler === undefined ? 'GET' : 'POST';
      throw new HttpError(405, `This answers to ${allow}.`, { Allow: allow });
    }
    const free = open[path];
    if (free !== undefined) return free();
    gate.checkToken(request);
    if (handler === undefined) return get(closed, path)(request, query);
    if (isStopping) throw new HttpError(503, 'The server stops.', { 'Retry-After': '5' });
    return compute(request, response, handler, query);
  }

  async function compute(
    request: IncomingMessage,
    response: ServerResponse,
    handler: ApiHandler,
    query: URLSearchParams,
  ) {
    const contentType = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
    return bodies.with(request, (body) =>
      queue.run(async () => {
        const left = new AbortController();
        const time = setTimeout(
          () =>
            left.abort(
              new HttpError(503, 'This took too long. Ask for less, or raise --timeout.', { 'Retry-After': '5' }),
            ),
          timeout * 1000,
        );
        const gone = () => left.abort(new HttpError(499, 'The client has gone.'));
        const stop = () => left.abort(new HttpError(503, 'The server stops.', { 'Retry-After': '5' }));
        response.once('close', gone);
        stopping.signal.addEventListener('abort', stop);
        try {
          if (response.destroyed) gone();
          return asJson(await handler({ body, contentType, query, signal: left.signal }, parts));
        } finally {
          clearTimeout(time);
          response.off('close', gone);
          stopping.signal.removeEventListener('abort', stop);
        }
      }),
    );
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const start = performance.now();
    const target = request.url ?? '/';
    const cut = target.indexOf('?');
    const path = cut < 0 ? target : target.slice(0, cut);
    const route = path in API || path in open || path in closed ? path : 'other';
    const { socket } = request;
    idle.delete(socket);
    response.once('close', () => {
      if (isStopping) socket.destroySoon();
      else if (!socket.destroyed) idle.add(socket);
      const seconds = (performance.now() - start) / 1000;
      const status = response.writableFinished ? response.statusCode : 499;
      metrics.count(route, status, seconds);
      if (options.verbose)
        print(`${request.method} ${printable(path, 200)} ${status} ${(seconds * 1000).toFixed(1)} ms`);
    });
    request.on('error', () => {}); // told where the body is read
    try {
      const found = await answer(request, response, path, new URLSearchParams(cut < 0 ? '' : target.slice(cut + 1)));
      send(response, found.status ?? 200, found, request.method === 'HEAD');
    } catch (error) {
      const told = answerTo(error);
      if (told.status === 500 && !response.destroyed) print(`error: ${printable(messageOf(error), 500)}`);
      fail(response, told);
      // The rest of a body that was refused is not waited for.
      if (!request.complete) response.once('finish', () => request.socket.destroySoon());
    }
  }

  function send(response: ServerResponse, status: number, { type, body, headers }: Answer, isHead: boolean): void {
    if (response.destroyed || response.headersSent) return;
    const length = status === 304 ? {} : { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) };
    const caching = { 'Cache-Control': 'no-store' };
    response.writeHead(status, {
      ...HEADERS,
      ...caching,
      ...length,
      ...(isStopping && { Connection: 'close' }),
      ...headers,
    });
    response.end(isHead || status === 304 ? undefined : body);
  }

  function fail(response: ServerResponse, { status, message, headers }: HttpError): void {
    const closing = response.req.complete ? {} : { Connection: 'close' };
    send(response, status, { ...asJson({ error: message }), headers: { ...headers, ...closing } }, false);
  }

  const server = createServer(
    {
      headersTimeout: Math.min(10_000, timeout * 500),
      requestTimeout: timeout * 500, // half of it for the body to come
      keepAliveTimeout: 65_000, // longer than proxies keep theirs
      connectionsCheckingInterval: 2000,
      maxHeaderSize: 16_384,
    },
    (request, response) => void serve(request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  // Connections without a request. Node's closeIdleConnections passes over those that have not had one, as browsers open them.
  const idle = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    idle.add(socket);
    socket.once('close', () => idle.delete(socket));
  });
  server.setTimeout(timeout * 1000 + 30_000); // clients that do not read their answers
  server.on('clientError', refuse);
  await listen();
  const address = server.address();
  const actual = typeof address === 'object' && address !== null ? address.port : port;
  if (!isLoopback(host) && token === undefined)
    print(`warning: Whoever reaches ${host}:${actual} can search and see these images. Give --token to prevent it.`);
  const warmUp = cost.measure(service, stopping.signal).catch(() => {}); // a search that fails says why to whoever asks

  function listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      server.once('error', (error) => reject(cannotListen(error, host, port)));
      server.listen({ host, port }, () => resolve());
    });
  }

  let closing: Promise<void> | undefined;
  async function shutDown(): Promise<void> {
    isStopping = true;
    const ended = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of idle) socket.destroy();
    const late = setTimeout(() => {
      stopping.abort(new HttpError(503, 'The server stops.'));
      setTimeout(() => server.closeAllConnections(), 200);
    }, GRACE);
    await ended;
    clearTimeout(late);
    stopping.abort(new HttpError(503, 'The server stops.'));
    await warmUp;
    metrics.close();
  }
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actual}`,
    close: () => {
      closing ??= shutDown();
      return closing;
    },
  };
}

/** The last part of a path or address: the rest is this machine's matter. */
function shortName(name: string): string {
  return name.split(/[?#]/, 1)[0]?.replace(/\/+$/, '').split('/').pop() ?? '';
}

function get<T>(table: Readonly<Record<string, T>>, name: string): T {
  const value = table[name];
  if (value === undefined) throw new RangeError(`There is no route ${name}.`);
  return value;
}

/** What is no HTTP, has too many headers, or comes too slowly. */
function refuse(error: Error, socket: Socket): void {
  if (!socket.writable || codeOf(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const [status, sentence] =
    codeOf(error) === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? ['408 Request Timeout', 'The request came too slowly.']
      : codeOf(error) === 'HPE_HEADER_OVERFLOW'
        ? ['431 Request Header Fields Too Large', 'The headers are too large.']
        : ['400 Bad Request', 'This is not HTTP.'];
  const body = JSON.stringify({ error: sentence });
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
}

function cannotListen(error: Error, host: string, port: number): Error {
  const where = `${host}:${port}`;
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return new UserError(`Port ${port} of ${host} is in use. Stop the program that has it, or give another --port.`, {
        cause: error,
      });
    case 'EACCES':
      return new UserError(`Only root may listen on ${where}. Give a --port from 1024 on.`, { cause: error });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new UserError(`${host} is no address of this machine. Give another --host.`, {
        cause: error,
        exitCode: 2,
      });
    default:
      return error;
  }
}
