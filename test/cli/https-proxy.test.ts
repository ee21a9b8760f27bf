// Downloads by https, as a user meets them: certificates that this machine does not know, and proxies that tunnel.
// Covers download/http, proxy, socks.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connectionFailure } from '#blip/download/failures.js';
import { temporaryFolder } from '../helpers/files.js';
import { httpProxy, listen, type ProxyHere, socksProxy } from '../helpers/proxies.js';
import { runCli } from '../helpers/run-cli.js';
import { evaluationValues, tinyCheckpoint, writeConfigFile } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const authority = join(folder, 'models.pem');
const skip = certificate('models', 'DNS:models.test,IP:127.0.0.1');

/** Writes NAME.pem and NAME.key to the folder. @returns why there are none, or false */
function certificate(name: string, hosts: string): string | false {
  const subject = ['-subj', '/CN=blip-retrieval test', '-addext', `subjectAltName=${hosts}`];
  const files = ['-keyout', join(folder, `${name}.key`), '-out', join(folder, `${name}.pem`)];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  try {
    execFileSync('openssl', ['req', '-x509', ...key, '-days', '3650', ...subject, ...files], { stdio: 'pipe' });
    return false;
  } catch (error) {
    return `openssl makes no certificate here: ${String(error).split('\n')[0]}`;
  }
}

const pair = (name: string) => ({
  key: readFileSync(join(folder, `${name}.key`)),
  cert: readFileSync(join(folder, `${name}.pem`)),
});

/** The port of an https server that answers every path with `content`. */
function serve(t: TestContext, content: Buffer, name = 'models'): Promise<number> {
  const server = createServer(pair(name), (_, response) => response.end(content));
  t.after(() => server.closeAllConnections());
  return listen(t, server);
}

let runs = 0;

/** Evaluates with weights from `url`, in an environment without proxies and authorities but those given. */
function evaluate(url: string, env: NodeJS.ProcessEnv, output = `out${runs++}`) {
  const config = writeConfigFile(join(folder, 'config.yaml'), evaluationValues(url));
  const args = ['--config', config, '--output_dir', join(folder, output), '--evaluate', '--device', 'cpu'];
  const none = Object.fromEntries(
    ['http_proxy', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY', 'no_proxy', 'NO_PROXY'].map((name) => [
      name,
      '',
    ]),
  );
  const own = { TORCH_HOME: join(folder, `torch_${output}`), NODE_EXTRA_CA_CERTS: '', OMP_NUM_THREADS: '1' };
  return runCli(args, { ...none, ...own, ...env });
}

/** A way through each kind of proxy, to a name that only the proxy knows. */
async function proxies(t: TestContext): Promise<[env: NodeJS.ProcessEnv, proxy: ProxyHere, asked: string][]> {
  const [plain, tls, socks] = [await httpProxy(t), await httpProxy(t, { tls: pair('models') }), await socksProxy(t)];
  return [
    [{ HTTPS_PROXY: `127.0.0.1:${plain.port}` }, plain, 'CONNECT models.test'],
    [{ https_proxy: `https://127.0.0.1:${tls.port}` }, tls, 'CONNECT models.test'],
    [{ ALL_PROXY: `socks5h://127.0.0.1:${socks.port}` }, socks, '3 models.test'],
  ];
}

test('weights come by https, through each kind of proxy, with an authority of NODE_EXTRA_CA_CERTS', {
  skip,
}, async (t) => {
  const checkpoint = readFileSync(await tinyCheckpoint(folder));
  const port = await serve(t, checkpoint);
  const direct = await evaluate(`https://127.0.0.1:${port}/tiny.pth`, { NODE_EXTRA_CA_CERTS: authority }, 'direct');
  assert.equal(direct.code, 0, direct.stderr);
  for (const [i, [env, { asked }, wanted]] of (await proxies(t)).entries()) {
    const url = `https://models.test:${port}/tiny.pth`;
    const { code, stderr } = await evaluate(url, { ...env, NODE_EXTRA_CA_CERTS: authority }, `by${i}`);
    assert.equal(code, 0, `${JSON.stringify(env)}: ${stderr}`);
    assert.deepEqual(asked, [`${wanted}:${port}`]);
    assert.deepEqual(
      readFileSync(join(folder, `by${i}`, 'evaluate.txt')),
      readFileSync(join(folder, 'direct', 'evaluate.txt')),
    );
  }
});

test('a certificate that is not trusted is one sentence with the remedy, by whatever way', { skip }, async (t) => {
  const port = await serve(t, Buffer.from('no checkpoint'));
  const ways = await proxies(t);
  for (const env of [{ no_proxy: '*' }, ...ways.map(([env]) => env)]) {
    const host = 'no_proxy' in env ? '127.0.0.1' : 'models.test';
    const { code, stdout, stderr } = await evaluate(`https://${host}:${port}/tiny.pth`, env);
    assert.equal(code, 1);
    const proxied = 'https_proxy' in env ? /^error: The proxy 127\.0\.0\.1:\d+ of https_proxy/ : undefined;
    assert.match(stderr, proxied ?? new RegExp(`^error: https://${host}:${port}/tiny\\.pth`), JSON.stringify(env));
    assert.match(
      stderr,
      /^error: .* has no certificate that this machine trusts \(self[ -]signed certificate.*\)\. Set NODE_EXTRA_CA_CERTS to .*\.\n$/,
    );
    assert.doesNotMatch(stdout + stderr, /defect|^ +at /m);
  }
});

test('a certificate for another name, or past its time, is named with another remedy', { skip }, async (t) => {
  const port = await serve(t, Buffer.from('no checkpoint'));
  const other = await evaluate(`https://localhost:${port}/tiny.pth`, { NODE_EXTRA_CA_CERTS: authority });
  assert.equal(other.code, 1);
  for (const code of ['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']) {
    const error = Object.assign(new Error('certificate has expired'), { code });
    assert.match(
      connectionFailure(new URL('https://a.test/b?token=c'), error).message,
      /^https:\/\/a\.test\/b has a certificate that is not valid today \(certificate has expired\)\. Check this machine's clock/,
    );
  }
  assert.match(
    other.stderr,
    /^error: https:\/\/localhost:\d+\/tiny\.pth has a certificate for other names \(.*models\.test.*\)\. Check the address, and the proxy if there is one\.\n$/,
  );
});

test('a server or proxy that does not speak TLS is named', { skip }, async (t) => {
  const plain = await httpProxy(t);
  const direct = await evaluate(`https://127.0.0.1:${plain.port}/tiny.pth`, {});
  assert.match(
    direct.stderr,
    /^error: https:\/\/127\.0\.0\.1:\d+\/tiny\.pth does not answer as https does \([a-z ]+\)\. Check whether its address begins with http:/,
  );
  const url = 'https://models.test:9999/tiny.pth';
  const proxied = await evaluate(url, { https_proxy: `https://127.0.0.1:${plain.port}` });
  assert.match(proxied.stderr, /^error: The proxy 127\.0\.0\.1:\d+ of https_proxy does not answer as https does/);
});

test('an authority that is not there is no defect', { skip }, async (t) => {
  const port = await serve(t, Buffer.from('no checkpoint'));
  const { code, stderr } = await evaluate(`https://127.0.0.1:${port}/tiny.pth`, { NODE_EXTRA_CA_CERTS: '/none.pem' });
  assert.equal(code, 1);
  assert.match(stderr, /^error: .* has no certificate that this machine trusts .* Set NODE_EXTRA_CA_CERTS/m);
});
