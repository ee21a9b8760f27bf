// Downloads against a server on this machine that breaks off, lies, redirects in circles and answers with web pages.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { cannotWrite } from '#blip/disk/cannot-write.js';
import { type DownloadOptions, download } from '#blip/download/download.js';
import type { Dispatcher } from '#blip/download/http.js';
import { UserError } from '#blip/errors.js';
import { answer, breakConnections, content, digest, send, serve } from '../helpers/download-server.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { endedIdentity } from '../helpers/identities.js';

const quick: DownloadOptions = { backoffMs: 1, retries: 3, onProgress: breakConnections };

function file(t: TestContext): string {
  return join(temporaryFolder(t), 'cache', 'file.pth');
}

/** The download fails with a sentence that names the URL, and leaves no file at the destination. */
async function refused(url: string, path: string, sentence: RegExp, options: DownloadOptions = quick): Promise<void> {
  const named = url.replace(/\/\/[^@/]*@/, '//').replace(/\?.*/, '');
  await assert.rejects(download(url, path, options), (error: unknown) => {
    assert.ok(error instanceof UserError, String(error));
    assert.ok(error.message.includes(named), error.message);
    assert.match(error.message, sentence);
    return true;
  });
  assert.equal(existsSync(path), false);
}

function whole(path: string): void {
  assert.ok(readFileSync(path).equals(content));
  assert.deepEqual(readdirSync(join(path, '..')), ['file.pth'], 'parts or locks were left');
}

test('a file comes whole, with progress, and is not fetched again', async (t) => {
  const server = await serve(t, (request, response) => answer(request, response));
  const path = file(t);
  const progress: [number, number | undefined][] = [];
  await download(server.url, path, { ...quick, sha256: digest, onProgress: (...step) => progress.push(step) });
  whole(path);
  assert.deepEqual(progress[0], [0, content.length]);
  assert.deepEqual(progress.at(-1), [content.length, content.length]);
  await download(server.url, path, { ...quick, sha256: digest.slice(0, 8).toUpperCase() });
  await download(server.url, path, { offline: true });
  assert.equal(server.requests.length, 1);
});

test('dropped connections are resumed where they broke', async (t) => {
  const server = await serve(t, (request, response, attempt) => {
    answer(request, response, { stopAt: attempt < 4 ? attempt * 70_000 : undefined });
  });
  const path = file(t);
  // One failure in a row is allowed, three happen: progress starts the count anew.
  await download(server.url, path, { ...quick, retries: 1, sha256: digest });
  whole(path);
  assert.equal(server.requests[0]?.headers.range, undefined);
  assert.deepEqual(
    server.requests.slice(1).map(({ headers }) => headers['if-range']),
    ['"v1"', '"v1"', '"v1"'],
  );
  const ranges = server.requests.slice(1).map(({ headers }) => headers.range);
  assert.deepEqual(ranges, ['bytes=70000-', 'bytes=140000-', 'bytes=210000-']);
});

test('a later run continues what an earlier one left', async (t) => {
  let broken = true;
  const server = await serve(t, (request, response) =>
    answer(request, response, { stopAt: broken ? 100_000 : undefined }),
  );
  const path = file(t);
  await refused(server.url, path, /the attempt failed.*kept in .*file\.pth\.part/, {
    ...quick,
    retries: 0,
  });
  broken = false;
  await download(server.url, path, quick);
  whole(path);
  assert.equal(server.requests[1]?.headers.range, 'bytes=100000-');
});

test('a server that ignores Range, or has no validator, gives the file from its start', async (t) => {
  for (const headers of [{ etag: '"v1"' }, { etag: 'W/"v1"' }, {}]) {
    const server = await serve(t, (_request, response, attempt) => {
      response.writeHead(200, { 'content-length': content.length, ...headers });
      send(response, 0, attempt === 1 ? 100_000 : undefined);
    });
    const path = file(t);
    await download(server.url, path, quick);
    whole(path);
    assert.equal(
      server.requests[1]?.headers.range === undefined,
      !('etag' in headers) || headers.etag.startsWith('W/'),
    );
  }
});

test('parts of two versions are never joined', async (t) => {
  const polite = await serve(t, (request, response, attempt) => {
    answer(request, response, attempt === 1 ? { etag: '"old"', stopAt: 100_000 } : { etag: '"new"' });
  });
  const rude = await serve(t, (request, response, attempt) => {
    // Answers the range of another version, as a server without If-Range does.
    if (attempt === 2)
      response.writeHead(206, { etag: '"new"', 'content-range': `bytes 5-9/${content.length}` }).end('abcde');
    else answer(request, response, attempt === 1 ? { etag: '"old"', stopAt: 100_000 } : { etag: '"new"' });
  });
  const shifted = await serve(t, (request, response, attempt) => {
    if (attempt === 2)
      response
        .writeHead(206, { etag: '"v1"', 'content-range': `bytes 7-${content.length - 1}/${content.length}` })
        .end(content.subarray(7));
    else answer(request, response, attempt === 1 ? { stopAt: 100_000 } : {});
  });
  const beyond = await serve(t, (request, response, attempt) => {
    if (attempt === 2) response.writeHead(416, { etag: '"v1"', 'content-range': 'bytes */5' }).end();
    else answer(request, response, attempt === 1 ? { stopAt: 100_000 } : {});
  });
  for (const { url } of [polite, rude, shifted, beyond]) {
    const path = file(t);
    await download(url, path, quick);
    whole(path);
  }
});

test('a server that lies about the length is given up on, whatever it sends', async (t) => {
  const short = await serve(t, (_request, response) => {
    response.writeHead(200, { 'content-length': content.length });
    response.write(content.subarray(0, 50_000), () => setTimeout(() => response.destroy(), 20));
  });
  await refused(short.url, file(t), /attempts in a row failed/);
  assert.ok(short.requests.length <= 6, `${short.requests.length} attempts`);
  const huge = await serve(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 2 ** 52 });
    response.write('x');
  });
  await refused(huge.url, file(t), /^Not enough room for http.* in .*: 4503\.6 TB needed, .* free\./);
});

test('without a length the digest decides', async (t) => {
  const server = await serve(t, (_request, response) => {
    response.write(content.subarray(0, 1000));
    response.end(content.subarray(1000));
  });
  const path = file(t);
  await download(server.url, path, { ...quick, sha256: digest });
  whole(path);
  const wrong = file(t);
  await refused(server.url, wrong, /with the SHA-256 [0-9a-f]{64}, not 00000000\./, { ...quick, sha256: '00000000' });
  assert.deepEqual(readdirSync(join(wrong, '..')), [], 'a wrong file was kept');
  writeFileSync(wrong, 'other');
  await assert.rejects(download(server.url, wrong, { sha256: digest }), /Delete the file, or correct the digest\./);
  await assert.rejects(
    download(server.url, wrong, { sha256: 'xyz' }),
    (error: unknown) => error instanceof UserError && error.exitCode === 2,
  );
});

test('web pages are not taken for files', async (t) => {
  const typed = await serve(t, (_request, response) =>
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('hello'),
  );
  await refused(typed.url, file(t), /web page/);
  const untyped = await serve(t, (_request, response) =>
    response.end('\n<!DOCTYPE html>\n<html><body>Log in</body></html>'),
  );
  const path = file(t);
  await refused(untyped.url, path, /web page/);
  assert.deepEqual(readdirSync(join(path, '..')), []);
  await download(untyped.url, path, { allowHtml: true });
  assert.match(readFileSync(path, 'utf8'), /Log in/);
  const packed = await serve(t, (_request, response) =>
    response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
  );
  await refused(packed.url, file(t), /encoded as gzip/);
});

test('error answers: final ones at once, passing ones again', async (t) => {
  for (const [status, sentence] of [
    [404, /answered 404: there is no such file\./],
    [403, /answered 403: access denied\./],
    [204, /answered 204: unexpected status\./],
    [302, /answered 302/],
  ] as const) {
    const server = await serve(t, (_request, response) => response.writeHead(status).end());
    await refused(`${server.url}?signature=secret`, file(t), sentence);
    assert.equal(server.requests.length, 1);
  }
  const down = await serve(t, (_request, response) => response.writeHead(503).end());
  await refused(down.url, file(t), /4 attempts in a row failed \(the server answered 503\)/);
  assert.equal(down.requests.length, 4);
  const busy = await serve(t, (request, response, attempt) => {
    if (attempt < 3) response.writeHead(attempt === 1 ? 500 : 429, { 'retry-after': '0.01' }).end();
    else answer(request, response);
  });
  const path = file(t);
  await download(busy.url, path, quick);
  whole(path);
  const closed = await serve(t, () => undefined);
  await refused(closed.url.replace(/:\d+/, ':1'), file(t), /cannot be reached/);
});

test('redirects are followed, but not for ever, not away from http, not with credentials', async (t) => {
  const target = await serve(t, (request, response) => answer(request, response));
  const server = await serve(t, (request, response) => {
    const hops = Number(/\d+$/.exec(request.url ?? '')?.[0] ?? 0);
    response.writeHead(302, { location: hops > 0 ? `/hop/${hops - 1}` : target.url }).end();
  });
  const path = file(t);
  const start = server.url.replace('http://', 'http://user:s%40cret@').replace('/models/file.pth', '/hop/9');
  await download(start, path, quick);
  whole(path);
  assert.equal(server.requests.length, 10);
  const basic = `Basic ${Buffer.from('user:s@cret').toString('base64')}`;
  assert.ok(server.requests.every(({ headers }) => headers.authorization === basic));
  assert.equal(target.requests[0]?.headers.authorization, undefined);
  await refused(start.replace('/hop/9', '/hop/12'), file(t), /redirects more than 10 times/);
  const ftp = await serve(t, (_request, response) => response.writeHead(301, { location: 'ftp://127.0.0.1/x' }).end());
  await assert.rejects(
    download(ftp.url, file(t), quick),
    /ftp:\/\/127\.0\.0\.1\/x is not an address to download from\./,
  );
  await assert.rejects(download('/local/file', file(t), quick), /not an address to download from\./);

  const secure: Dispatcher = {
    request: async () => ({
      status: 302,
      body: (async function* () {})(),
      header: (name) => (name === 'location' ? 'http://plain.test/file.pth' : undefined),
      discard: () => undefined,
    }),
    destroy: async () => undefined,
  };
  await refused('https://secure.test/file.pth', file(t), /from https to http:\/\/plain\.test.*could forge\./, {
    dispatcher: secure,
  });
});

test('two processes that want one file fetch it once', async (t) => {
  const server = await serve(t, (request, response) => setTimeout(() => answer(request, response), 300));
  const path = file(t);
  const script = `import { download } from ${JSON.stringify(pathToFileURL(join(projectRoot, 'dist/download/download.js')).href)};
    await download(${JSON.stringify(server.url)}, ${JSON.stringify(path)}, { sha256: ${JSON.stringify(digest)} });`;
  const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  await Promise.all([run(), run(), run()]);
  whole(path);
  assert.equal(server.requests.length, 1);
});

test('a lock and a part that a killed process left do not stand in the way', async (t) => {
  const server = await serve(t, (request, response) => answer(request, response));
  const path = join(temporaryFolder(t), 'file.pth');
  writeFileSync(`${path}.lock`, `${endedIdentity()}\n`);
  writeFileSync(`${path}.part`, content.subarray(0, 1000));
  writeFileSync(`${path}.part.json`, JSON.stringify({ url: server.url, etag: '"v1"', total: content.length }));
  await download(server.url, path, quick);
  whole(path);
  assert.equal(server.requests[0]?.headers.range, 'bytes=1000-');
  const other = join(temporaryFolder(t), 'file.pth');
  writeFileSync(`${other}.part`, 'from elsewhere');
  writeFileSync(`${other}.part.json`, 'no JSON');
  await download(server.url, other, quick);
  whole(other);
});

test('a stopped download keeps its part, and says so', async (t) => {
  let slow = true;
  const server = await serve(t, (request, response) => {
    if (!slow) return answer(request, response);
    response.writeHead(200, { 'content-length': content.length, etag: '"v1"' });
    return response.write(content.subarray(0, 1000));
  });
  const path = file(t);
  const stop = new AbortController();
  await refused(server.url, path, /was stopped\. Run again to continue/, {
    signal: stop.signal,
    onProgress: (received) => {
      if (received > 0) stop.abort();
    },
  });
  await refused(server.url, path, /was stopped/, { signal: AbortSignal.abort() });
  slow = false;
  await download(server.url, path, quick);
  whole(path);
  assert.equal(server.requests.at(-1)?.headers.range, 'bytes=1000-');
});

test('a full disk has a sentence', () => {
  const full = Object.assign(new Error('write ENOSPC'), { code: 'ENOSPC' });
  assert.match(
    cannotWrite('/x/file.part', full).message,
    /^\/x\/file\.part cannot be written: the disk is full\. Free some space/,
  );
});
