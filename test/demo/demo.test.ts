// `demo` from the command line: it evaluates what it drew, and the ordinary command on its files finds the same.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCli } from '../helpers/run-cli.js';

const folder = mkdtempSync(join(tmpdir(), 'blip-demo-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('the demo ends with a table, and can be run again by hand', async () => {
  const demo = await runCli(['demo', '--output-dir', folder, '--images', '10', '--seed', '3']);
  assert.equal(demo.code, 0, demo.stderr);
  assert.match(demo.stdout, /val: 6 images, 30 captions +R@1/);
  assert.match(demo.stdout, /test: 10 images, 50 captions +R@1/);
  assert.match(demo.stdout, /The weights are random/);

  const config = join(folder, 'config.yaml');
  const again = await runCli([
    '--evaluate',
    '--config',
    config,
    '--output_dir',
    folder,
    '--nproc_per_node=2',
    '--quiet',
  ]);
  assert.equal(again.code, 0, again.stderr);
  assert.match(again.stdout, /^Recall in percent\n/);
  const [first, second] = readFileSync(join(folder, 'evaluate.txt'), 'utf8').trimEnd().split('\n');
  assert.ok(first);
  assert.equal(second, first);
});
