// `serve` as a user runs it: started, asked, stopped by a signal; a port in use.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { temporaryFolder } from '../helpers/files.js';
import { cliPath, runCli } from '../helpers/run-cli.js';
import { openTiny } from './ask.js';

test('serve finds the model by its index, answers, and ends by the code of its signal', async (t) => {
  const { blip, index } = await openTiny(temporaryFolder(t));
  await blip.close();
  const args = [cliPath, 'serve', index.name, '--port', '0', '--device', 'cpu', '--verbose'];
  const server = spawn(process.execPath, args, { env: { ...process.env, BLIP_TOKEN: 'secret' } });
  let lines = '';
  server.stderr.setEncoding('utf8');
  for await (const part of server.stderr.iterator({ destroyOnReturn: false })) {
    lines += part;
    if (/ at http:\S+\n/.test(lines)) break;
  }
  const url = /at (http:\S+)/.exec(lines)?.[1] ?? '';
  server.stderr.on('data', (part) => {
    lines += part;
  });
  assert.match(lines, /Serving 24 images/);
  const init = { method: 'POST', body: '{"text": "a dog"}', headers: { Authorization: 'Bearer secret' } };
  assert.equal((await fetch(`${url}/search`, init)).status, 200);
  assert.equal((await fetch(`${url}/info`)).status, 401);
  server.kill('SIGTERM');
  const [code] = await once(server, 'exit');
  assert.equal(code, 143);
  assert.match(lines, /^POST \/search 200 [\d.]+ ms$/m);
  assert.doesNotMatch(lines, /secret/);
});

test('a port in use, and an index that is none, are said', async (t) => {
  const { blip, index } = await openTiny(temporaryFolder(t));
  await blip.close();
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.after(() => other.close());
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? String(address.port) : '';
  const busy = await runCli(['serve', index.name, '--port', port, '--device', 'cpu']);
  assert.equal(busy.code, 1);
  assert.match(busy.stderr, /error: Port \d+ of 127\.0\.0\.1 is in use\. .*--port/);
  const none = await runCli(['serve', 'nowhere.index']);
  assert.equal(none.code, 1);
  assert.match(
    none.stderr,
    /error: .*nowhere\.index\. Make one with `blip-retrieval index FOLDER`, or check the path\.\n$/,
  );
});
