// The child processes that bench talks to: wrong programs, deaths and errors give a sentence, never a hang.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startWorker } from '#blip/bench/harness.js';
import { Timed } from '#blip/bench/protocol.js';
import { UserError } from '#blip/errors.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-test-worker-'));
after(() => rmSync(folder, { recursive: true }));

/** Starts a Node script as the child; `serve` answers each command with what the function body `reply` returns. */
function start(script: string) {
  const path = join(folder, `${script.length}-${Math.abs(hash(script))}.mjs`);
  writeFileSync(path, script);
  return startWorker('the child', process.execPath, [path]);
}
const hash = (text: string) => [...text].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) | 0, 7);
const hello = `console.log(JSON.stringify({ ok: true, versions: { child: '1' }, threads: 2 }));`;
const serve = (reply: string) => `import { createInterface } from 'node:readline';
${hello}
for await (const line of createInterface({ input: process.stdin })) { const command = JSON.parse(line); ${reply} }`;

const failsWith = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof UserError, String(error));
  assert.match(error.message, pattern);
  return true;
};

test('a program that does not exist', async () => {
  await assert.rejects(
    startWorker('the child', join(folder, 'absent'), []),
    failsWith(/^the child cannot be started: .*ENOENT/),
  );
});

test('a program that ends before it is ready: its last lines are quoted', async () => {
  await assert.rejects(
    start(`console.error('no such module'); process.exit(3)`),
    failsWith(/ended with code 3; its last lines were:\nno such module/),
  );
});

test('a program that says what it lacks', async () => {
  const lacking = `console.log(JSON.stringify({ ok: false, error: 'package X is missing' }))`;
  await assert.rejects(start(lacking), failsWith(/^the child failed: package X is missing$/));
});

test('an answer that is not JSON, or lacks what was asked', async () => {
  const worker = await start(serve(`console.log(command.op === 'open' ? 'hm' : '{"ok":true}')`));
  try {
    await assert.rejects(
      worker.ask({ op: 'open', checkpoint: '' }, Timed),
      failsWith(/did not answer with a JSON object but with "hm"/),
    );
    await assert.rejects(worker.ask({ op: 'overhead', calls: 1 }, Timed), failsWith(/did not answer what was asked/));
  } finally {
    await worker.close();
  }
});

test('a child that dies at work rejects that command and all later ones', async () => {
  const worker = await start(serve(`process.kill(process.pid, 'SIGKILL')`));
  await assert.rejects(
    worker.ask({ op: 'open', checkpoint: '' }, Timed),
    failsWith(/was ended by SIGKILL, probably because memory ran out/),
  );
  await assert.rejects(worker.ask({ op: 'open', checkpoint: '' }, Timed), failsWith(/was ended by SIGKILL/));
  await worker.close();
});

test('commands are answered in order, with the environment given, and closing ends the child', async () => {
  const worker = await start(
    serve(`console.error('noise'); console.log(JSON.stringify({ ok: true, seconds: command.calls }))`),
  );
  assert.deepEqual(worker.hello, { versions: { child: '1' }, threads: 2 });
  assert.deepEqual(await worker.ask({ op: 'overhead', calls: 5 }, Timed), { seconds: 5 });
  assert.deepEqual(await worker.ask({ op: 'overhead', calls: 6 }, Timed), { seconds: 6 });
  await worker.close();
  await assert.rejects(worker.ask({ op: 'open', checkpoint: '' }, Timed), failsWith(/ended with code 0/));
});

test('a child that ignores the end of its input is killed', async () => {
  const worker = await start(`${hello} process.stdin.resume(); setInterval(() => {}, 1000);`);
  await worker.close(100);
  await assert.rejects(worker.ask({ op: 'open', checkpoint: '' }, Timed), failsWith(/was ended by SIGKILL/));
});

test('a child that writes more than it was asked for is closed', { timeout: 30_000 }, async () => {
  const worker = await start(`${hello} const flood = () => process.stdout.write('x\\n'.repeat(9999), flood); flood();`);
  await assert.rejects(
    worker.ask({ op: 'open', checkpoint: '' }, Timed),
    failsWith(/did not answer with a JSON object/),
  );
  await worker.close(100);
});
