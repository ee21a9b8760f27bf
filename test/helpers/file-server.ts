// A local HTTP server with one file: counts requests, knows ranges, and can break off.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

export interface FileServer {
  url: string;
  /** `GET /path`, with ` bytes=…` for a range, in order of arrival. */
  requests: string[];
  /** Bytes of bodies sent so far. */
  sent: number;
  sha256: string;
  /** The next so many answers to GET break off half way. */
  breaks: number;
}

/** Serves `content` at any path that ends in `.zip`, else 404, until the test ends. */
export async function serve(t: TestContext, content: Buffer): Promise<FileServer> {
  const sha256 = createHash('sha256').update(content).digest('hex');
  const state: FileServer = { url: '', requests: [], sent: 0, sha256, breaks: 0 };
  const server = createServer((request, response) => {
    const range = request.headers.range;
    state.requests.push(`${request.method} ${request.url}${range === undefined ? '' : ` ${range}`}`);
    if (!request.url?.endsWith('.zip')) {
      response.writeHead(404).end();
      return;
    }
    const start = Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
    const headers = { 'content-length': content.length - start, 'accept-ranges': 'bytes', etag: `"${sha256}"` };
    const partial = start > 0 ? { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` } : {};
    response.writeHead(start > 0 ? 206 : 200, { ...headers, ...partial });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    const broken = state.breaks > 0;
    if (broken) state.breaks--;
    const body = content.subarray(start, broken ? start + Math.floor((content.length - start) / 2) : undefined);
    state.sent += body.length;
    // A socket that ends before the announced length, its last bytes delivered: what a lost connection looks like.
    response.write(body, () => (broken ? request.socket.destroySoon() : response.end()));
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  state.url = `http://127.0.0.1:${port}`;
  return state;
}
