// A server that plays Hugging Face's hub, and one that plays the network where its large files lie.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

export interface FakeModel {
  /** 40 hexadecimal digits. */
  commit: string;
  files: Record<string, Buffer>;
  /** Branches and tags beside main. */
  revisions?: string[];
  /** Who has no token does not see it. */
  private?: boolean;
  /** Who has no token sees it, and may not have it. */
  gated?: boolean;
}

export interface SeenRequest {
  host: 'hub' | 'cdn';
  /** `HEAD /OWNER/NAME/resolve/main/config.json` */
  text: string;
  authorization: string | undefined;
  range: string | undefined;
}

export interface FakeHub {
  /** For HF_ENDPOINT. */
  endpoint: string;
  requests: SeenRequest[];
}

export interface FakeHubOptions {
  /** The one that is valid. */
  token?: string;
  /** Answers in place of hub or cdn, by returning true; `count` is the number of the request at that host. */
  instead?: (seen: SeenRequest, response: ServerResponse, count: number) => boolean;
}

/** The name that a file has among the blobs: of large files the SHA-256, of small ones git's SHA-1. */
export function digestOf(name: string, content: Buffer): string {
  if (isLarge(name)) return createHash('sha256').update(content).digest('hex');
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

const isLarge = (name: string) => /\.(?:safetensors|bin)$/.test(name);

/** Serves `models`, by OWNER/NAME, until the test ends. */
export async function fakeHub(
  t: TestContext,
  models: Record<string, FakeModel>,
  options: FakeHubOptions = {},
): Promise<FakeHub> {
  const requests: SeenRequest[] = [];
  const listen = async (host: 'hub' | 'cdn', reply: (seen: SeenRequest, response: ServerResponse) => void) => {
    let count = 0;
    const server = createServer((request: IncomingMessage, response) => {
      const { authorization, range } = request.headers;
      const seen = { host, text: `${request.method} ${request.url}`, authorization, range };
      requests.push(seen);
      if (options.instead?.(seen, response, ++count) !== true) reply(seen, response);
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };

  const cdn = await listen('cdn', (seen, response) => {
    const [, path = ''] = /^GET \/(.*)\?signature=/.exec(seen.text) ?? [];
    const content = Object.values(models)
      .flatMap(({ files }) => Object.entries(files))
      .find(([name, bytes]) => digestOf(name, bytes) === path)?.[1];
    if (content === undefined) response.writeHead(403).end();
    else sendFile(seen, response, content, { etag: `"of-the-cdn-${path.slice(0, 8)}"` });
  });

  const endpoint = await listen('hub', (seen, response) => {
    const [, repo = '', revision = '', name = ''] = /\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(seen.text) ?? [];
    const refuse = (status: number, code: string, more: Record<string, string> = {}) =>
      response.writeHead(status, { 'x-error-code': code, 'x-error-message': `${code}.`, ...more }).end();
    const known = seen.authorization === `Bearer ${options.token}`;
    if (seen.authorization !== undefined && !known) return refuse(401, '');
    const model = models[repo];
    if (model === undefined || (model.private === true && !known)) return refuse(401, 'RepoNotFound');
    if (![model.commit, 'main', ...(model.revisions ?? [])].includes(decodeURIComponent(revision)))
      return refuse(404, 'RevisionNotFound');
    const commit = { 'x-repo-commit': model.commit };
    const content = model.files[name];
    if (content === undefined) return refuse(404, 'EntryNotFound', commit);
    if (model.gated === true && !known) return refuse(403, 'GatedRepo');
    const digest = digestOf(name, content);
    if (!isLarge(name)) return sendFile(seen, response, content, { etag: `"${digest}"`, ...commit });
    return response
      .writeHead(302, {
        location: `${cdn}/${digest}?signature=secret`,
        'x-linked-etag': `"${digest}"`,
        'x-linked-size': content.length,
        ...commit,
      })
      .end();
  });
  return { endpoint, requests };
}

function sendFile(seen: SeenRequest, response: ServerResponse, content: Buffer, headers: Record<string, string>): void {
  const from = Number(/^bytes=(\d+)-$/.exec(seen.range ?? '')?.[1] ?? 0);
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': content.length - from,
    ...headers,
    ...(from > 0 && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
  });
  response.end(seen.text.startsWith('HEAD') ? undefined : content.subarray(from));
}
