// One training run at a time in a folder: who waits, who is refused, who goes on.
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { native } from '#blip/torch/native.js';
import { lockFolder } from '#blip/training/folder-lock.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-folder-lock-'));
after(() => rmSync(folder, { recursive: true }));

test('a folder is one run’s until it lets go, and the other is told whose', async () => {
  const output = join(folder, 'a/b');
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  const unlock = await lockFolder(output, { print });
  const holder = `${output} \\(process ${process.pid} on .+, since \\d{4}-.+Z\\)`;
  await assert.rejects(lockFolder(output, { print, patienceMs: 1 }), {
    name: 'UserError',
    message: new RegExp(
      `^Another run is training into ${holder}, .*\\. Choose another --output_dir, or stop that run\\.$`,
    ),
  });
  assert.match(lines.join('\n'), new RegExp(`^Another run holds ${holder}: waiting up to 0\\.001 s for it to end$`));
  unlock();
  (await lockFolder(output, { print, patienceMs: 0 }))();
});

test('a run that ends within the wait is waited for', async () => {
  const output = join(folder, 'ending');
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  const unlock = await lockFolder(output, { print });
  const second = lockFolder(output, { print });
  setImmediate(unlock);
  (await second)();
  assert.equal(lines.length, 1);
});

test('a machine that has failed, of which a file server keeps the lock, bars nobody', async () => {
  const output = join(folder, 'elsewhere');
  mkdirSync(output);
  const path = join(output, '.training.lock');
  writeFileSync(
    path,
    'process 7 on node3, since 2026-11-24T02:00:00.000Z, boot 11111111-2222-3333-4444-555555555555\n',
  );
  const held = openSync(path, 'a+');
  assert.equal(native().lockFile(held), true);
  const lines: string[] = [];
  (await lockFolder(output, { print: (line) => void lines.push(line), patienceMs: 1 }))();
  assert.match(
    lines.join('\n'),
    /process 7 on node3, since 2026-11-24T02:00:00\.000Z\): waiting .*\nContinuing: the lock belongs to another machine/,
  );
  closeSync(held);
});
