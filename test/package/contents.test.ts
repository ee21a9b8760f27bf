// What package.json says about the tarball. installed.test.ts packs and installs one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../helpers/fixtures.js';

test('installing runs nothing: no script, and no binding.gyp, for which npm would run node-gyp', () => {
  const manifest: { scripts: object; files: string[] } = JSON.parse(
    readFileSync(join(projectRoot, 'package.json'), 'utf8'),
  );
  const atInstall = ['preinstall', 'install', 'postinstall', 'prepare'];
  assert.deepEqual(
    Object.keys(manifest.scripts).filter((name) => atInstall.includes(name)),
    [],
  );
  assert.equal(manifest.files.includes('binding.gyp'), false);
});

test("README's links lead to files of the tarball", () => {
  const { files }: { files: string[] } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8'));
  const links = [...readFileSync(join(projectRoot, 'README.md'), 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)/g)];
  const targets = links.map(([, target = '']) => target).filter((target) => target !== 'CONTRIBUTING.md');
  assert.ok(targets.length > 5);
  assert.deepEqual(
    targets.filter((target) => !files.includes(target.split('/')[0] ?? '')),
    [],
  );
});
