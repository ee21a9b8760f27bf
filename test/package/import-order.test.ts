// .dependency-cruiser.mjs: the rule of imports finds what it is there for, in small trees of planted files.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

const cruiser = join(projectRoot, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');

interface Violation {
  from: string;
  to: string;
  rule: { name: string };
}

/** A tree that keeps every rule: the command line uses a room, which starts a worker by its path. */
const SOUND = {
  'cli.ts': `import './commands/run.js'; import './errors.js';`,
  'index.ts': `export * from './model/net.js';`,
  'errors.ts': 'export const sentence = 1;',
  'commands/run.ts': `import '../model/net.js';`,
  'model/net.ts': `import '../torch/tensor.js'; export const net = new URL('./worker.js', import.meta.url);`,
  'model/worker.ts': `import '../torch/tensor.js';`,
  'torch/tensor.ts': `import { sentence } from '../errors.js'; export interface Tensor { a: typeof sentence }`,
};

/** What the cruiser finds in SOUND with `planted` over it: `rule: from -> to`, one line each. */
function violations(t: TestContext, planted: Readonly<Record<string, string>>): string[] {
  const folder = temporaryFolder(t);
  for (const name of ['.dependency-cruiser.mjs', 'tsconfig.json'])
    copyFileSync(join(projectRoot, name), join(folder, name));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const [name, text] of Object.entries({ ...SOUND, ...planted })) {
    const path = join(folder, 'src', name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  const args = [cruiser, 'src', '--output-type', 'json'];
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  assert.equal(stderr, '');
  const found: { summary: { violations: Violation[] } } = JSON.parse(stdout);
  return found.summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`).sort();
}

test('a tree that keeps the order has no violation', (t) => {
  assert.deepEqual(violations(t, {}), []);
});

test('an import up is found, of a type too', (t) => {
  const upward = `import type { net } from '../model/net.js'; export type Tensor = typeof net;`;
  assert.deepEqual(violations(t, { 'torch/tensor.ts': upward }), [
    'no circle: src/model/net.ts -> src/torch/tensor.ts',
    'torch imports what is below it: src/torch/tensor.ts -> src/model/net.ts',
  ]);
});

test('an import of a room beside is found', (t) => {
  const planted = {
    'commands/run.ts': `import '../data/rows.js'; import '../model/net.js';`,
    'data/rows.ts': `import '../distributed/ranks.js';`,
    'distributed/ranks.ts': '',
  };
  assert.deepEqual(violations(t, planted), [
    'data imports what is below it: src/data/rows.ts -> src/distributed/ranks.ts',
  ]);
});

test('a circle within a room is found, also one that closes when it runs', (t) => {
  const planted = {
    'torch/tensor.ts': `import './ops.js';`,
    'torch/ops.ts': `export const later = () => import('./tensor.js');`,
  };
  assert.ok(violations(t, planted).includes('no circle: src/torch/ops.ts -> src/torch/tensor.ts'));
});

test('setup may use torch, and nothing else of what comes after it', (t) => {
  const planted = {
    'commands/run.ts': `import '../setup/build.js';`,
    'setup/build.ts': `import '../torch/tensor.js'; import '../model/net.js';`,
  };
  assert.deepEqual(violations(t, planted), [
    'setup runs before there is an addon: src/setup/build.ts -> src/model/net.ts',
  ]);
});

test('a file that no program reaches is found', (t) => {
  const planted = { 'torch/left.ts': `import './tensor.js';`, 'torch/alone.ts': '' };
  const found = violations(t, planted).map((line) => line.split(' -> ')[1]);
  assert.deepEqual([...new Set(found)].sort(), ['src/torch/alone.ts', 'src/torch/left.ts']);
});

test('a fourth file beside the rooms and a room that is not in the list are found', (t) => {
  const rule = 'src holds the rooms of this list, cli.ts, core.ts, index.ts and errors.ts';
  const planted = {
    'cli.ts': `import './files.js'; import './misc/a.js'; import './commands/run.js';`,
    'files.ts': '',
    'misc/a.ts': '',
  };
  assert.deepEqual(violations(t, planted), [
    `${rule}: src/cli.ts -> src/files.ts`,
    `${rule}: src/cli.ts -> src/misc/a.ts`,
  ]);
});

test('an import of a file that is not there is found', (t) => {
  const planted = { 'torch/tensor.ts': `import './absent.js';` };
  assert.deepEqual(violations(t, planted), ['every import resolves: src/torch/tensor.ts -> ./absent.js']);
});
