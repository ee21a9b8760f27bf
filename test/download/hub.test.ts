// Models of Hugging Face's hub (`hf:OWNER/NAME`), against a server on this machine that plays it; the cache is that of
// huggingface_hub, to the letter. Covers download/hub/*.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fetchFromHub, type HubOptions } from '#blip/download/hub/fetch-from-hub.js';
import { fetchPretrained } from '#blip/download/pretrained-file.js';
import { UserError } from '#blip/errors.js';
import { digestOf, type FakeHubOptions, type FakeModel, fakeHub } from '../helpers/fake-hub.js';
import { noise, temporaryFolder } from '../helpers/files.js';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const REPO = 'Salesforce/blip-itm-base-coco';
const weights = Buffer.from(noise(400_000));
const config = Buffer.from('{"model_type": "blip"}\n');
const preprocessor = Buffer.from('{"size": 384}\n');
const whole: FakeModel = {
  commit: COMMIT,
  files: { 'model.safetensors': weights, 'config.json': config, 'preprocessor_config.json': preprocessor },
};

/** A hub with `model`, an empty HF_HOME, and how to fetch from the one into the other. */
async function hubWith(t: TestContext, model: FakeModel = whole, options: FakeHubOptions = {}) {
  const hub = await fakeHub(t, { [REPO]: model }, options);
  const home = temporaryFolder(t);
  const env: NodeJS.ProcessEnv = { HF_ENDPOINT: hub.endpoint, HF_HOME: home };
  const fetched = (spec = `hf:${REPO}`, more: HubOptions = {}) =>
    fetchFromHub(spec, { backoffMs: 1, retries: 2, ...more, env: { ...env, ...more.env } });
  return { hub, home, env, fetched, folder: join(home, 'hub', 'models--Salesforce--blip-itm-base-coco') };
}

/** It fails with a sentence that is meant for a user. */
async function refused(work: Promise<unknown>, sentence: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof UserError, String(error));
    assert.match(error.message, sentence);
    return true;
  });
}

test('a model comes into the layout of huggingface_hub, once', async (t) => {
  const { hub, home, fetched, folder } = await hubWith(t);
  const lines: string[] = [];
  const progress: number[] = [];
  const found = await fetched(undefined, { print: (line) => lines.push(line), onProgress: (n) => progress.push(n) });
  const snapshot = join(folder, 'snapshots', COMMIT);
  assert.deepEqual(found, {
    folder: snapshot,
    weights: join(snapshot, 'model.safetensors'),
    config: join(snapshot, 'config.json'),
    commit: COMMIT,
  });
  assert.ok(readFileSync(found.weights).equals(weights));
  assert.ok(readFileSync(join(snapshot, 'preprocessor_config.json')).equals(preprocessor));
  assert.equal(readFileSync(join(folder, 'refs/main'), 'utf8'), COMMIT, 'no line end, as huggingface_hub writes it');
  for (const [name, content] of Object.entries(whole.files))
    assert.equal(readlinkSync(join(snapshot, name)), `../../blobs/${digestOf(name, content)}`);
  assert.deepEqual(
    readdirSync(join(folder, 'blobs')).sort(),
    Object.entries(whole.files)
      .map(([name, content]) => digestOf(name, content))
      .sort(),
    'parts or locks were left',
  );
  assert.deepEqual(readdirSync(join(home, 'hub/.locks/models--Salesforce--blip-itm-base-coco')), []);
  assert.deepEqual(lines, [`Downloading model.safetensors of hf:${REPO} (400.0 kB) to ${snapshot}`]);
  assert.equal(progress.at(-1), weights.length);
  const requests = hub.requests.length;
  assert.deepEqual(await fetched(), found);
  assert.deepEqual(await fetched(`hf:${REPO}@${COMMIT}`), found);
  assert.equal(hub.requests.length, requests, 'what is in the cache needs no network');
});

test('pytorch_model.bin serves where there are no safetensors; config.json may be absent', async (t) => {
  const { fetched } = await hubWith(t, { commit: COMMIT, files: { 'pytorch_model.bin': weights } });
  const found = await fetched();
  assert.equal(found.weights, join(found.folder, 'pytorch_model.bin'));
  assert.equal('config' in found, false);
});

test('what Python has fetched serves without the hub', async (t) => {
  const { hub, home, env, fetched, folder } = await hubWith(t);
  const blobs = join(folder, 'blobs');
  const snapshot = join(folder, 'snapshots', COMMIT);
  for (const path of [blobs, snapshot, join(folder, 'refs/pr')]) mkdirSync(path, { recursive: true });
  writeFileSync(join(blobs, 'abc'), weights);
  symlinkSync('../../blobs/abc', join(snapshot, 'pytorch_model.bin'));
  writeFileSync(join(folder, 'refs/pr/1'), COMMIT);
  assert.equal((await fetched(`hf:${REPO}@pr/1`)).weights, join(snapshot, 'pytorch_model.bin'));
  assert.equal((await fetched(`hf:${REPO}@${COMMIT}`)).commit, COMMIT);
  for (const at of [
    { HF_HUB_CACHE: join(home, 'hub'), HF_HOME: '/none' },
    { HUGGINGFACE_HUB_CACHE: join(home, 'hub'), HF_HOME: '/none' },
    { HF_HOME: '$BASE/hf', BASE: home },
    { XDG_CACHE_HOME: home, HF_HOME: '' },
    { HF_HOME: '~', HOME: home },
  ]) {
    const moved = at.HF_HOME === '$BASE/hf' ? 'hf' : 'XDG_CACHE_HOME' in at ? 'huggingface' : undefined;
    if (moved !== undefined) symlinkSync('.', join(home, moved));
    const found = await fetchFromHub(`hf:${REPO}@${COMMIT}`, { env: { ...env, HF_HUB_OFFLINE: '1', ...at } });
    assert.ok(readFileSync(found.weights).equals(weights), JSON.stringify(at));
    if (moved !== undefined) rmSync(join(home, moved));
  }
  assert.equal(hub.requests.length, 0);
  // Only a config was fetched, or the blob was deleted: the hub is asked.
  rmSync(join(blobs, 'abc'));
  assert.ok(readFileSync((await fetched(`hf:${REPO}@${COMMIT}`)).weights).equals(weights));
});

test('offline the cache alone is asked', async (t) => {
  const { hub, fetched, home } = await hubWith(t);
  for (const env of [{ HF_HUB_OFFLINE: '1' }, { TRANSFORMERS_OFFLINE: 'yes' }, { HF_HUB_OFFLINE: 'TRUE' }]) {
    const [name = ''] = Object.keys(env);
    const sentence = new RegExp(
      `^hf:${REPO} is not in ${join(home, 'hub')}, and ${name} forbids to fetch it\\. Fetch it`,
    );
    await refused(fetched(undefined, { env }), sentence);
  }
  await refused(fetched(undefined, { offline: true }), /and the run is offline\./);
  assert.equal(hub.requests.length, 0);
  await fetched(undefined, { env: { HF_HUB_OFFLINE: '0', TRANSFORMERS_OFFLINE: '1' } });
  await fetched(undefined, { env: { HF_HUB_OFFLINE: '1' } });
});

test('the token goes to the hub, and to no other host', async (t) => {
  const secret = 'hf_secret';
  const { hub, fetched, home, folder } = await hubWith(t, { ...whole, private: true }, { token: secret });
  writeFileSync(join(home, 'token'), `${secret}\n`);
  const other = join(home, 'other-token');
  writeFileSync(other, secret);
  const none = { HF_TOKEN_PATH: join(home, 'no-such-file') };
  for (const env of [
    { HF_TOKEN: ` ${secret} `, ...none },
    { HUGGING_FACE_HUB_TOKEN: secret, ...none },
    {},
    { HF_TOKEN_PATH: other },
  ]) {
    hub.requests.length = 0;
    await fetched(undefined, { env });
    for (const { host, text, authorization } of hub.requests)
      assert.equal(authorization, host === 'hub' ? `Bearer ${secret}` : undefined, text);
    assert.ok(hub.requests.some(({ host }) => host === 'cdn'));
    rmSync(folder, { recursive: true });
  }
  for (const [env, sentence] of [
    [none, new RegExp(`^There is no model ${REPO} on 127\\.0\\.0\\.1:\\d+, or it is private\\. .* set HF_TOKEN`)],
    [{ HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }, /or it is private/],
    [{ HF_TOKEN: 'hf_wrong' }, /denies access to .* \(401.*See that the token of HF_TOKEN is valid and may read it\./],
    [{ HF_TOKEN: 'hf_\u00e4' }, /^HF_TOKEN holds characters that no token has\./],
  ] as const) {
    await assert.rejects(fetched(undefined, { env }), (error: Error) => {
      assert.match(error.message, sentence);
      assert.doesNotMatch(error.message, /hf_/);
      return error instanceof UserError;
    });
  }
});

test('models, revisions and files that are not there each have a sentence', async (t) => {
  const { fetched, folder } = await hubWith(t, { ...whole, gated: true, revisions: ['refs/pr/1'] }, { token: 'hf_x' });
  await refused(fetched('hf:Salesforce/nothing'), /^There is no model Salesforce\/nothing on 127.* Check the name/);
  await refused(
    fetched(`hf:${REPO}@v9`),
    /has no revision v9\. Give a branch, tag or commit that is listed at http.*itm-base-coco, or/,
  );
  await refused(
    fetched(),
    /^Salesforce\/blip-itm-base-coco is gated: .* Ask for it at http:.*coco, then set HF_TOKEN to a token/,
  );
  assert.equal(existsSync(folder), false, 'nothing is left of a model that was not fetched');
  const allowed = { env: { HF_TOKEN: 'hf_x' } };
  assert.equal((await fetched(`hf:${REPO}@refs/pr/1`, allowed)).commit, COMMIT);
  assert.equal(readFileSync(join(folder, 'refs/refs/pr/1'), 'utf8'), COMMIT);

  const sharded = await hubWith(t, { commit: COMMIT, files: { 'model.safetensors.index.json': config } });
  await refused(
    sharded.fetched(),
    /^The weights of hf:\S+ are in several files \(model\.safetensors\.index\.json\), and only/,
  );
  const empty = await hubWith(t, { commit: COMMIT, files: { 'config.json': config } });
  await refused(empty.fetched(), /has neither model\.safetensors nor pytorch_model\.bin\. Name/);
});

test('a name of another form has the form in its sentence', async (t) => {
  const { hub, fetched } = await hubWith(t);
  for (const spec of [
    'hf:',
    'hf:name',
    'hf:a/b/c',
    'hf://a/b',
    'hf:a/..',
    'hf:../b',
    'hf:a/b@',
    'hf:a/b@../../x',
    'hf:a/b@x/.y',
    'hf:a--b/c',
    'hf:a/b.git',
    'hf:a b/c',
    'hf:a/b@\u001b',
  ])
    await refused(fetched(spec), /names no model of Hugging Face\. Write hf:OWNER\/NAME or hf:OWNER\/NAME@REVISION/);
  await refused(
    fetched(undefined, { env: { HF_ENDPOINT: 'huggingface.co' } }),
    /^HF_ENDPOINT is no address\. Set it to/,
  );
  assert.equal(hub.requests.length, 0);
});

test('a hub that is busy is waited for, then there is a sentence', async (t) => {
  const busy = (until: number, status: number): FakeHubOptions => ({
    instead: ({ host }, response, count) => {
      if (host !== 'hub' || count > until) return false;
      response.writeHead(status, { 'retry-after': '0.01' }).end();
      return true;
    },
  });
  const once = await hubWith(t, whole, busy(2, 429));
  assert.equal((await once.fetched()).commit, COMMIT);
  const always = await hubWith(t, whole, busy(1000, 429));
  await refused(
    always.fetched(),
    /3 attempts in a row failed \(the server answered 429\)\. Wait some minutes, or set HF_TOKEN/,
  );
  const down = await hubWith(t, whole, busy(1000, 503));
  await refused(down.fetched(), /3 attempts in a row failed \(the server answered 503\)\. Try again later\./);
});

test('a download that breaks off goes on where it broke', async (t) => {
  const { hub, fetched, folder } = await hubWith(t, whole, {
    instead: ({ host, range }, response) => {
      if (host !== 'cdn' || range !== undefined) return false;
      response.writeHead(200, {
        'content-length': weights.length,
        etag: `"of-the-cdn-${digestOf('x.bin', weights).slice(0, 8)}"`,
      });
      response.write(weights.subarray(0, 100_000), () => response.socket?.end());
      return true;
    },
  });
  await refused(
    fetched(undefined, { retries: 0 }),
    /the attempt failed.*kept in .*\.part will not be downloaded again/,
  );
  assert.equal(existsSync(join(folder, 'refs/main')), false);
  assert.ok(readFileSync((await fetched()).weights).equals(weights));
  assert.match(hub.requests.filter(({ host }) => host === 'cdn').at(-1)?.range ?? '', /^bytes=\d+-$/);
});

test('what is not what the hub says is refused: weights by SHA-256, small files by that of git', async (t) => {
  const lie = (wrong: (text: string) => boolean): FakeHubOptions => ({
    instead: ({ text }, response) => {
      if (!text.startsWith('GET') || !wrong(text)) return false;
      response.end('{"model_type": "blib"}\n');
      return true;
    },
  });
  const cdn = await hubWith(
    t,
    whole,
    lie((text) => text.includes('signature')),
  );
  await refused(cdn.fetched(), /gave a file with the SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}\. It was deleted/);
  const small = await hubWith(
    t,
    whole,
    lie((text) => text.endsWith('/config.json')),
  );
  await refused(small.fetched(), /gave a file with git's SHA-1 [0-9a-f]{40}, not [0-9a-f]{40}\. It was deleted/);
  assert.deepEqual(readdirSync(join(small.folder, 'blobs')), []);
  // Git itself agrees with the name of the small file.
  const file = join(temporaryFolder(t), 'config.json');
  writeFileSync(file, config);
  const git = (() => {
    try {
      return execFileSync('git', ['hash-object', file], { encoding: 'utf8' }).trim();
    } catch {
      return undefined;
    }
  })();
  if (git !== undefined) assert.equal(digestOf('config.json', config), git);
  const login = await hubWith(t, whole, {
    instead: (_seen, response) => Boolean(response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')),
  });
  await refused(login.fetched(), /does not answer as a hub of Hugging Face does: model\.safetensors has no commit/);
});

test('a renamed model is followed, with its token; a folder that cannot be made names the variables', async (t) => {
  const { hub, fetched, folder } = await hubWith(t, whole, {
    token: 'hf_x',
    instead: ({ text }, response) => {
      if (!text.includes('/Salesforce/old/')) return false;
      response.writeHead(307, { location: text.replace(/^\w+ /, '').replace('Salesforce/old', REPO) }).end();
      return true;
    },
  });
  const found = await fetched('hf:Salesforce/old', { env: { HF_TOKEN: 'hf_x' } });
  assert.ok(readFileSync(found.weights).equals(weights));
  assert.ok(hub.requests.every(({ host, authorization }) => (authorization === undefined) === (host === 'cdn')));
  assert.equal(existsSync(folder), false);
  await refused(
    fetched(undefined, { env: { HF_HOME: '/dev/null' } }),
    /HF_HOME or HF_HUB_CACHE sets the folder of the hub\./,
  );
});

test('fetchPretrained takes hf:, and compares a digest that was given', async (t) => {
  const { env } = await hubWith(t);
  const options = { backoffMs: 1, retries: 0, env };
  const { path, config: found, source } = await fetchPretrained(`hf:${REPO}`, options);
  assert.ok(readFileSync(path).equals(weights));
  assert.match(found ?? '', /config\.json$/);
  assert.equal(source, `hf:${REPO}@${COMMIT}`);
  await refused(
    fetchPretrained(`hf:${REPO}`, { ...options, sha256: '0'.repeat(64) }),
    /has the SHA-256 [0-9a-f]{64}, not 0/,
  );
  await refused(
    fetchPretrained(REPO, options),
    /does not exist\. .* For a model of Hugging Face, write hf:Salesforce\/blip/,
  );
});

test('several that want one model at once fetch it once', async (t) => {
  const { hub, fetched } = await hubWith(t);
  const found = await Promise.all([fetched(), fetched(), fetched()]);
  assert.equal(new Set(found.map((each) => each.weights)).size, 1);
  assert.equal(hub.requests.filter(({ host }) => host === 'cdn').length, 1);
});
