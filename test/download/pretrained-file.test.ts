// Checkpoints that are named by URL: cached where PyTorch caches them, and two addresses that end in one name kept apart.
// Covers download/pretrained-file.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { DownloadOptions } from '#blip/download/download.js';
import {
  fetchPretrained as fetchFile,
  hubCheckpointPath,
  type PretrainedOptions,
} from '#blip/download/pretrained-file.js';
import { answer, breakConnections, content, digest, serve } from '../helpers/download-server.js';
import { temporaryFolder } from '../helpers/files.js';

const quick: DownloadOptions = { backoffMs: 1, retries: 3, onProgress: breakConnections };

/** The path alone. */
async function fetchPretrained(source: string, options?: PretrainedOptions): Promise<string> {
  return (await fetchFile(source, options)).path;
}

/** A new folder that is TORCH_HOME until the test ends. */
function ownTorchHome(t: TestContext): string {
  const folder = temporaryFolder(t);
  const before = process.env.TORCH_HOME;
  process.env.TORCH_HOME = folder;
  t.after(() => {
    if (before === undefined) delete process.env.TORCH_HOME;
    else process.env.TORCH_HOME = before;
  });
  return folder;
}

test('checkpoints are cached where PyTorch caches them', async (t) => {
  const url = 'https://example.test/BLIP/models/model_base%20x.pth?sign=1';
  const path = (env: NodeJS.ProcessEnv) => hubCheckpointPath(url, env);
  assert.equal(path({ TORCH_HOME: '/t', XDG_CACHE_HOME: '/x' }), '/t/hub/checkpoints/model_base%20x.pth');
  assert.equal(path({ XDG_CACHE_HOME: '/x' }), '/x/torch/hub/checkpoints/model_base%20x.pth');
  assert.equal(path({ HOME: '/h' }), '/h/.cache/torch/hub/checkpoints/model_base%20x.pth');
  assert.equal(path({ HOME: '/h', TORCH_HOME: '~/t' }), '/h/t/hub/checkpoints/model_base%20x.pth');
  assert.equal(path({}), join(homedir(), '.cache/torch/hub/checkpoints/model_base%20x.pth'));
  assert.throws(() => hubCheckpointPath('https://example.test/models/'), /names no file/);

  const server = await serve(t, (request, response) => answer(request, response));
  const folder = ownTorchHome(t);
  const cached = join(folder, 'hub/checkpoints/file.pth');
  assert.equal(await fetchPretrained(server.url, { ...quick, sha256: digest }), cached);
  assert.ok(readFileSync(cached).equals(content));
  assert.deepEqual(readdirSync(join(cached, '..')), ['file.pth', 'file.pth.url.json'], 'parts or locks were left');
  assert.equal(await fetchPretrained(server.url), cached);
  assert.equal(server.requests.length, 1);
  assert.equal(await fetchPretrained(cached, { sha256: digest }), cached);
  const named = server.url.replace('file.pth', `net-${digest.slice(0, 8)}.pth`);
  assert.match(await fetchPretrained(named, quick), /net-/);
  await assert.rejects(fetchPretrained(named.replace(digest.slice(0, 8), '00000000'), quick), /with the SHA-256 /);
  await assert.rejects(fetchPretrained(join(folder, 'none.pth')), /none\.pth does not exist/);
  await assert.rejects(
    fetchPretrained(server.url.replace('file', 'other'), { offline: true }),
    /absent and cannot be downloaded offline\./,
  );
});

test('two addresses that end in one name are two files', async (t) => {
  const served = new Map<string, Buffer>();
  const server = await serve(t, (request, response) => {
    const body = served.get(request.url ?? '');
    response.writeHead(body === undefined ? 404 : 200, { 'content-length': body?.length ?? 0 }).end(body);
  });
  const [first, second] = [Buffer.alloc(1000, 1), Buffer.alloc(1000, 2)];
  served.set('/a/model.pth', first).set('/b/model.pth', second).set('/a/model.pth?X-Amz-Signature=2', first);
  served.set('/get/model.pth?id=1', first).set('/get/model.pth?id=2', second);
  const root = server.url.replace('/models/file.pth', '');
  const folder = ownTorchHome(t);
  const path = join(folder, 'hub/checkpoints/model.pth');
  const lines: string[] = [];
  const fetched = (url: string, options: DownloadOptions = {}) =>
    fetchPretrained(`${root}${url}`, {
      ...quick,
      ...options,
      print: (line) => line.startsWith('Downloading') || lines.push(line),
    });

  assert.equal(await fetched('/a/model.pth'), path);
  assert.deepEqual(lines, []);
  const other = await fetched('/b/model.pth');
  assert.match(other, /hub\/checkpoints\/[0-9a-f]{12}\/model\.pth$/);
  assert.ok(readFileSync(other).equals(second) && readFileSync(path).equals(first));
  assert.deepEqual(lines, [`${path} is from ${root}/a/model.pth; that of ${root}/b/model.pth is ${other}.`]);
  const requests = server.requests.length;
  assert.equal(await fetched('/b/model.pth'), other);
  assert.equal(await fetched('/a/model.pth'), path);
  assert.equal(await fetched('/a/model.pth?X-Amz-Signature=2'), path, 'a signature makes no other file');
  const [one, two] = ['1', '2'].map((byte) =>
    createHash('sha256')
      .update(Buffer.alloc(1000, Number(byte)))
      .digest('hex'),
  );
  assert.equal(await fetched('/c/model.pth', { sha256: one }), path, 'the digest decides');
  assert.equal(await fetched('/b/model.pth', { sha256: two }), other);
  assert.equal(server.requests.length, requests);
  assert.notEqual(await fetched('/get/model.pth?id=1'), await fetched('/get/model.pth?id=2'));

  // A file of Python's torch.hub has no note: it is taken, as ever, and noted once its digest is known.
  writeFileSync(join(folder, 'hub/checkpoints/hub.pth'), second);
  assert.equal(await fetched('/x/hub.pth'), join(folder, 'hub/checkpoints/hub.pth'));
  assert.equal(existsSync(join(folder, 'hub/checkpoints/hub.pth.url.json')), false);
  await fetched('/x/hub.pth', { sha256: two });
  assert.match(readFileSync(join(folder, 'hub/checkpoints/hub.pth.url.json'), 'utf8'), /\/x\/hub\.pth/);
  // A file that was replaced by hand is taken, whatever the note says.
  writeFileSync(path, Buffer.alloc(7));
  assert.equal(await fetched('/d/model.pth'), path);
});
