// The tarball that `npm pack` would make: its size, and every file in it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../helpers/fixtures.js';

test('the tarball holds what is needed and no more, in under 1 MB', () => {
  const script = join(projectRoot, 'scripts/package-contents.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], { cwd: projectRoot, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const { size, defects }: { size: number; defects: string[] } = JSON.parse(stdout);
  assert.deepEqual(defects, []);
  assert.ok(size < 1_000_000, `${size} bytes`);
});
