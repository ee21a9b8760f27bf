// Files behind a folder that may not be entered: what a user reads is not that they are absent.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { convertAnnotations } from '#blip/commands/convert-annotations.js';
import { requireFolder } from '#blip/data/annotations.js';
import { lookAt } from '#blip/disk/folder.js';
import { barredFrom } from '../helpers/barred.js';
import { temporaryFolder } from '../helpers/files.js';

test('what lies behind a folder that may not be entered cannot be reached, and the folder is named', (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o755);
  const barred = join(folder, 'barred');
  mkdirSync(join(barred, 'deep'), { recursive: true });
  writeFileSync(join(barred, 'deep/file'), '');
  assert.equal(lookAt(join(barred, 'deep/file'))?.isFile(), true);
  const message = `${barred}/deep/file cannot be reached: this user may not enter ${barred}. Change its permissions, or run as a user who may.`;
  const look = () => barredFrom(barred, () => lookAt(join(barred, 'deep/file')));
  assert.throws(look, { name: 'UserError', message });
  assert.throws(() => barredFrom(barred, () => requireFolder(join(barred, 'deep'))), /this user may not enter/);
  assert.equal(lookAt(join(folder, 'absent')), undefined);
  assert.equal(lookAt(join(barred, 'deep/file/below')), undefined);
});

test('annotations to convert that lie behind it are not told as a wrong form', async (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o755);
  const barred = join(folder, 'barred');
  mkdirSync(barred);
  writeFileSync(join(barred, 'a.json'), '[]');
  const options = { dataset: undefined, split: undefined };
  const converting = barredFrom(barred, () => convertAnnotations(join(barred, 'a.json'), join(folder, 'out'), options));
  await assert.rejects(converting, { name: 'UserError', message: /this user may not enter/ });
});
