// Proxies by the variables of the environment as curl reads them: an HTTP proxy, a SOCKS5 proxy, values of no use.
// Covers download/proxy, socks.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { download } from '#blip/download/download.js';
import { makeDispatcher } from '#blip/download/http.js';
import { hubFolder } from '#blip/download/pretrained-file.js';
import { proxyFor } from '#blip/download/proxy.js';
import { UserError } from '#blip/errors.js';
import { cacheFolder } from '#blip/libtorch/cache.js';
import { answer, content, serve } from '../helpers/download-server.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { httpProxy, listen, socksProxy } from '../helpers/proxies.js';
import { runCli } from '../helpers/run-cli.js';
import { evaluationValues, writeConfigFile } from '../helpers/tiny-run.js';

/** Downloads `url` with the variables `env`. */
async function fetched(t: TestContext, url: string, env: NodeJS.ProcessEnv): Promise<void> {
  const dispatcher = makeDispatcher(5000, env);
  try {
    await download(url, join(temporaryFolder(t), 'file.pth'), { dispatcher, retries: 0 });
  } finally {
    await dispatcher.destroy();
  }
}

test('an HTTP proxy without a scheme, with a login; http is asked of it, https tunnelled', async (t) => {
  const server = await serve(t, (request, response) => answer(request, response));
  const proxy = await httpProxy(t);
  await fetched(t, server.url, { http_proxy: `127.0.0.1:${proxy.port}` });
  await fetched(t, server.url, { ALL_PROXY: `HTTP://127.0.0.1:${proxy.port}/` });
  assert.deepEqual(proxy.asked, [`GET ${server.url}`, `GET ${server.url}`]);
  await assert.rejects(fetched(t, 'https://example.test/file.pth', { HTTPS_PROXY: `127.0.0.1:${proxy.port}` }), {
    name: 'UserError',
    message: /example\.test\/file\.pth cannot be reached: the proxy 127\.0\.0\.1:\d+ of HTTPS_PROXY answers 502\./,
  });
  assert.equal(proxy.asked.at(-1), 'CONNECT example.test:443');
  const closed = await httpProxy(t, { login: 'me:a b@c' });
  await fetched(t, server.url, { http_proxy: `me:a%20b@c@127.0.0.1:${closed.port}` });
  for (const url of [server.url, 'https://example.test/file.pth'])
    await assert.rejects(fetched(t, url, { all_proxy: `127.0.0.1:${closed.port}` }), /answers 407\. Give it a user/);
});

test('a SOCKS5 proxy, with names looked up by it or here, and a login', async (t) => {
  const server = await serve(t, (request, response) => answer(request, response));
  const named = server.url.replace('127.0.0.1', 'nowhere.test');
  const open = await socksProxy(t);
  await fetched(t, named, { all_proxy: `socks5h://127.0.0.1:${open.port}` });
  await fetched(t, server.url.replace('127.0.0.1', 'localhost'), { all_proxy: `socks5://127.0.0.1:${open.port}` });
  const port = new URL(server.url).port;
  assert.equal(open.asked[0], `3 nowhere.test:${port}`);
  assert.match(open.asked[1] ?? '', /^(?:1 127\.0\.0\.1|4 0\..*\.1):\d+$/);
  const closed = await socksProxy(t, { login: 'me:secret' });
  await fetched(t, named, { http_proxy: `socks5h://me:secret@127.0.0.1:${closed.port}` });
  for (const [user, reason] of [
    ['', /asks for a user and password/],
    ['me:wrong@', /refuses the user and password/],
  ] as const) {
    const env = { http_proxy: `socks5h://${user}127.0.0.1:${closed.port}` };
    await assert.rejects(fetched(t, named, env), (error: Error) => {
      assert.match(error.message, reason);
      assert.match(error.message, /^The SOCKS proxy 127\.0\.0\.1:\d+ of http_proxy gives no connection: /);
      return error instanceof UserError;
    });
  }
  const refusing = await socksProxy(t, { reply: 2 });
  await assert.rejects(
    fetched(t, named, { http_proxy: `socks5h://127.0.0.1:${refusing.port}` }),
    /not allowed by its rules/,
  );
  const silent = await listen(
    t,
    createServer((socket) => socket.end()),
  );
  await assert.rejects(fetched(t, named, { http_proxy: `socks5h://127.0.0.1:${silent}` }), /closes the connection/);
  assert.equal(content.length, 300_000);
});

test('which proxy an address has, by the variables', () => {
  const of = (url: string, env: NodeJS.ProcessEnv) => {
    const proxy = proxyFor(new URL(url), env);
    return proxy === undefined ? undefined : `${proxy.scheme}://${proxy.host}:${proxy.port} ${proxy.variable}`;
  };
  const [http, https] = ['http://a.test/x', 'https://a.test/x'];
  for (const [url, env, expected] of [
    [http, {}, undefined],
    [http, { http_proxy: '' }, undefined],
    [http, { http_proxy: 'p:1' }, 'http://p:1 http_proxy'],
    [http, { HTTP_PROXY: 'p:1' }, undefined],
    [http, { HTTPS_PROXY: 'p:1', https_proxy: 'p:1' }, undefined],
    [https, { HTTPS_PROXY: 'p:1' }, 'http://p:1 HTTPS_PROXY'],
    [https, { HTTPS_PROXY: 'p:1', https_proxy: 'q:2' }, 'http://q:2 https_proxy'],
    [https, { HTTPS_PROXY: '', ALL_PROXY: 'q:2' }, 'http://q:2 ALL_PROXY'],
    [https, { all_proxy: ' q:2 ', ALL_PROXY: 'p:1' }, 'http://q:2 all_proxy'],
    [https, { all_proxy: 'q' }, 'http://q:1080 all_proxy'],
    [https, { all_proxy: 'https://q' }, 'https://q:443 all_proxy'],
    [https, { all_proxy: 'SOCKS5H://u@[::1]:9/' }, 'socks5h://::1:9 all_proxy'],
    [https, { all_proxy: 'socks5://q' }, 'socks5://q:1080 all_proxy'],
  ] as const) {
    assert.equal(of(url, env), expected, JSON.stringify(env));
  }
  for (const [value, sentence] of [
    ['socks4://q:1', /all_proxy is socks4:\/\/q:1, and SOCKS proxies of version 4 are not supported\. Use/],
    ['ftp://q:1', /proxies of the kind ftp are not supported/],
    ['http://', /no address of a proxy\. Set it to http:\/\/HOST:PORT/],
    ['http://me:secret@:80', /all_proxy is http:\/\/…@:80, which/],
    ['p:99999', /no address/],
    ['p:0', /no address/],
    ['a b', /no address/],
    ['http://[::1', /no address/],
    ['\u001b[2J', /no address/],
  ] as const) {
    assert.throws(
      () => of(http, { all_proxy: value }),
      (error: Error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, sentence);
        assert.doesNotMatch(error.message, /secret|\p{Cc}/u);
        return true;
      },
    );
    assert.equal(of(http, { all_proxy: value, no_proxy: '*' }), undefined);
  }
});

test('NO_PROXY in the forms that curl and others take', () => {
  const excluded = (url: string, list: string, name = 'no_proxy') =>
    proxyFor(new URL(url), { http_proxy: 'p:1', [name]: list }) === undefined;
  for (const [url, list, expected] of [
    ['http://a.example.com', 'example.com', true],
    ['http://example.com', 'example.com', true],
    ['http://example.com', '.example.com', true],
    ['http://a.example.com', '.example.com', true],
    ['http://badexample.com', 'example.com', false],
    ['http://example.com.', 'example.com', true],
    ['http://EXAMPLE.com', 'Example.COM.', true],
    ['http://a.test', '*', true],
    ['http://a.test', 'b.test, a.test', true],
    ['http://a.test', 'b.test a.test', true],
    ['http://a.test', 'b.test,,\ta.test', true],
    ['http://a.test:8080', 'a.test:8080', true],
    ['http://a.test:81', 'a.test:8080', false],
    ['http://a.test', 'a.test:80', true],
    ['http://10.1.2.3', '10.0.0.0/8', true],
    ['http://11.1.2.3', '10.0.0.0/8', false],
    ['http://10.1.2.3', '10.1.2.3', true],
    ['http://10.1.2.3', '10.0.0.0/99', false],
    ['http://10.1.2.3', '0.0.0.0/0', true],
    ['http://[::1]:8000', '::1', true],
    ['http://[::1]:8000', '[::1]', true],
    ['http://[::1]:8000', '[::1]:8000', true],
    ['http://[::1]:8000', '[::1]:80', false],
    ['http://[fe80::1]', 'fe80::/10', true],
    ['http://[fe80::1]', '[fe80::]/10', true],
    ['http://[2001:db8::1]', 'fe80::/10', false],
    ['http://127.0.0.1', '::1', false],
    ['http://a.test', '://, [, ]:, /8, *x, .', false],
    ['http://10.1.2.3', '10.1.2, 10.1.2.3.4, /8', false],
  ] as const) {
    assert.equal(excluded(url, list), expected, `${url} ${list}`);
    assert.equal(excluded(url, list, 'NO_PROXY'), expected, `${url} ${list}`);
  }
  assert.equal(
    proxyFor(new URL('http://a.test'), { http_proxy: 'p:1', no_proxy: 'b', NO_PROXY: 'a.test' })?.host,
    'p',
    'lower case comes first',
  );
});

test('no value of a variable ends in a defect', async (t) => {
  const server = await serve(t, (request, response) => answer(request, response));
  const folder = temporaryFolder(t);
  const evaluate = async (env: NodeJS.ProcessEnv) => {
    const config = writeConfigFile(join(folder, 'config.yaml'), evaluationValues(server.url));
    const args = ['--config', config, '--output_dir', join(folder, 'out'), '--evaluate', '--device', 'cpu'];
    return runCli(args, { TORCH_HOME: join(folder, 'torch'), ...env });
  };
  for (const [env, sentence] of [
    [{ http_proxy: 'socks4://127.0.0.1:1' }, /http_proxy is socks4:\/\/127\.0\.0\.1:1, and SOCKS proxies of version 4/],
    [{ http_proxy: '::::' }, /http_proxy is ::::, which is no address of a proxy/],
    [{ all_proxy: '127.0.0.1:1' }, /the proxy 127\.0\.0\.1:1 of all_proxy gives no connection \(.*ECONNREFUSED/],
    [{ all_proxy: 'socks5://127.0.0.1:1' }, /the proxy 127\.0\.0\.1:1 of all_proxy gives no connection/],
    [{ TORCH_HOME: '/dev/null' }, /\/dev\/null/],
    [{ TORCH_HOME: `${folder}/${'x'.repeat(300)}` }, /name too long|ENAMETOOLONG/],
    // What is not read, or means nothing: the file comes, and is no checkpoint.
    [{ HTTP_PROXY: '127.0.0.1:1', NO_COLOR: 'x', COLUMNS: '-3', SSL_CERT_FILE: '/none' }, /not a checkpoint/],
    [
      { NODE_EXTRA_CA_CERTS: '/none', XDG_CACHE_HOME: 'relative', BLIP_CACHE: '/dev/null', COLUMNS: 'NaN' },
      /not a checkpoint/,
    ],
    [{ no_proxy: ',,[::/::]:, */', http_proxy: '', TERM: '' }, /not a checkpoint/],
  ] as const) {
    const { code, stderr } = await evaluate(env);
    assert.equal(code, 1, stderr);
    assert.match(stderr, sentence, JSON.stringify(env));
    assert.doesNotMatch(stderr, /defect|^ +at /m);
  }
});

test('doctor reports whatever the variables of caches and the home folder are', async () => {
  for (const env of [
    { TORCH_HOME: '/dev/null' },
    { XDG_CACHE_HOME: '/dev/null' },
    { BLIP_CACHE: 'x'.repeat(5000) },
    { HOME: '/dev/null' },
    { HOME: '' },
  ]) {
    const { stdout, stderr } = await runCli(['doctor'], env);
    assert.match(stdout, /LibTorch/, JSON.stringify(env));
    assert.doesNotMatch(stderr, /This is a defect|^ +at /m, JSON.stringify(env));
  }
});

test('a user without a home folder is no defect', async (t) => {
  const [cache, hub] = [cacheFolder({ HOME: '' }), hubFolder({ HOME: '' })];
  assert.ok(cache.startsWith('/') && hub.startsWith('/'));
  if (process.getuid?.() !== 0) return t.skip('only root can become a user that no file lists');
  const script = `import { cacheFolder } from ${JSON.stringify(moduleUrl('libtorch/cache.js'))};
    import { hubFolder } from ${JSON.stringify(moduleUrl('download/pretrained-file.js'))};
    process.setgid(54321);
    process.setuid(54321);
    console.log(cacheFolder({}), hubFolder({}));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env: {} });
  assert.equal(stdout, '/.cache/blip-retrieval /.cache/torch/hub/checkpoints\n');
});

const moduleUrl = (name: string) => pathToFileURL(join(projectRoot, 'dist', name)).href;
