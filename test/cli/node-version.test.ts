// A Node that is too old: a sentence in place of a syntax error, from the program and from bootstrap.mjs.
// Covers cli.ts, scripts/bootstrap.mjs.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

const { engines } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8'));
const entries = ['dist/cli.js', 'scripts/bootstrap.mjs'];

for (const entry of entries)
  test(`${entry} alone, wanting a later Node, says so before it imports anything`, () => {
    const text = readFileSync(join(projectRoot, entry), 'utf8');
    const least = `'${String(engines.node).replace('>=', '')}'`;
    assert.equal(text.split(least).length, 2, `${entry} has the version of package.json`);
    const copy = join(temporaryFolder(), entry.endsWith('.mjs') ? 'copy.mjs' : 'copy.js');
    writeFileSync(copy, text.replace(least, "'99.1'"));
    const { status, stdout, stderr } = spawnSync(process.execPath, [copy], { encoding: 'utf8' });
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.match(
      stderr,
      /^error: Node\.js 99\.1 or newer is needed, and \S+ is v\d+\.\d+\.\d+\. Install a newer one .*\.\n$/,
    );
  });

for (const version of ['12', '18'])
  test(`Node ${version} reads both`, (t) => {
    const withNode = join(projectRoot, 'scripts/with-node.mjs');
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [withNode, version, 'node', ...args], { encoding: 'utf8' });
    if (!run('--version').stdout.includes(`v${version}.`)) return t.skip(`Node ${version} could not be fetched`);
    for (const entry of entries) {
      const { status, stderr } = run(join(projectRoot, entry), '--help');
      assert.equal(status, 1);
      assert.match(
        stderr,
        new RegExp(`^error: Node\\.js 20\\.17 or newer is needed, and \\S+ is v${version}\\.\\d+\\.\\d+\\.`),
      );
    }
  });
