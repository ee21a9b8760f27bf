// Lines of log.txt and metrics.jsonl: added, refused by a full disk, and taken away again when a run goes on earlier.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { addLine, forgetLater, type LogName } from '#blip/training/run-logs.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

function output(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
}
const read = (path: string, name: LogName) => readFileSync(join(path, name), 'utf8');

test('a run that goes on from a step forgets what was logged from there on', async () => {
  const path = output('later');
  for (const epoch of [0, 1]) {
    for (const step of [0, 1, 2]) addLine(path, 'metrics.jsonl', JSON.stringify({ epoch, step, lr: 0.1 }));
    addLine(path, 'log.txt', `{"train_lr": "0.100", "epoch": ${epoch}, "best_epoch": 0}`);
  }
  await forgetLater(path, { epoch: 1, step: 2 }, 3);
  assert.equal(read(path, 'log.txt'), '{"train_lr": "0.100", "epoch": 0, "best_epoch": 0}\n');
  const left = read(path, 'metrics.jsonl').trimEnd().split('\n');
  assert.deepEqual(
    left.map((line) => JSON.parse(line)).map(({ epoch, step }) => [epoch, step]),
    [
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 0],
      [1, 1],
    ],
  );
  assert.deepEqual(readdirSync(path).sort(), ['log.txt', 'metrics.jsonl']);
});

test('a line in whose midst a run was killed goes, wherever it was cut', async () => {
  const path = output('torn');
  const whole = '{"train_lr": "0.100", "epoch": 0, "best_epoch": 0}\n';
  const next = '{"train_lr": "0.050", "epoch": 1, "best_epoch": 0}';
  for (let length = 0; length <= next.length; length++) {
    writeFileSync(join(path, 'log.txt'), whole + next.slice(0, length));
    await forgetLater(path, { epoch: 2, step: 0 }, 3);
    assert.equal(read(path, 'log.txt'), whole, `cut after ${length} characters`);
  }
});

test('nothing logged yet is nothing to forget', async () => {
  const path = output('empty');
  await forgetLater(path, { epoch: 0, step: 0 }, 3);
  assert.deepEqual(readdirSync(path), []);
});

test('a full disk is told from a defect', () => {
  const path = output('full');
  symlinkSync('/dev/full', join(path, 'log.txt'));
  assert.throws(
    () => addLine(path, 'log.txt', '{}'),
    (error) => error instanceof UserError && /log\.txt cannot be written: the disk is full/.test(error.message),
  );
});
