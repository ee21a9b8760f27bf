// Runs the tests, after everything they need is in place.
// Usage: node scripts/test.mjs [--gpu | --trials] [--test-…] [part of a file's path]…
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { bootstrap, ensureTests, root } from './build-steps.mjs';

const args = process.argv.slice(2);
// What needs a GPU, and the long fault trials, are not part of the usual run.
const kinds = { '--gpu': '.gpu-test.ts', '--trials': '.trial-test.ts' };
const kind = Object.keys(kinds).find((flag) => args.includes(flag));
const forNode = args.filter((arg) => arg.startsWith('--') && !(arg in kinds));
const filters = args.filter((arg) => !arg.startsWith('--'));

await bootstrap();
ensureTests();

// From the sources, not from .build, where a test that was removed may be left.
const ending = kind === undefined ? '.test.ts' : kinds[kind];
const sources = readdirSync(join(root, 'test'), { withFileTypes: true, recursive: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
  .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
  .filter((path) => filters.length === 0 || filters.some((filter) => path.includes(filter)))
  .sort();
if (sources.length === 0) {
  console.error(`No test file test/**/*${ending} has ${filters.join(' or ') || 'that ending'} in its path.`);
  process.exit(2);
}
const files = sources.map((path) => join('.build', path.replace(/\.ts$/, '.js')));

// The spec reporter prints failures after its summary; TAP's summary, which ends the run, comes from a second reporter.
const scratch = mkdtempSync(join(tmpdir(), 'blip-test-'));
const tap = join(scratch, 'tap');
const reporters = [
  '--test-reporter=spec',
  '--test-reporter-destination=stdout',
  '--test-reporter=tap',
  `--test-reporter-destination=${tap}`,
];
// Tests that share one GPU's memory, and trials that take time, run one at a time.
const concurrency = `--test-concurrency=${kind === undefined ? 2 : 1}`;
const { status, signal, error } = spawnSync(
  process.execPath,
  ['--test', concurrency, ...reporters, ...forNode, ...files],
  {
    cwd: root,
    stdio: 'inherit',
    env: { OMP_NUM_THREADS: '1', ...process.env },
  },
);
if (existsSync(tap)) {
  const lines = readFileSync(tap, 'utf8').split('\n');
  const summary = lines.filter((line) => /^# (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /.test(line));
  console.log(summary.join('\n'));
}
rmSync(scratch, { recursive: true, force: true });
if (error || signal) console.error(`The tests ended early: ${error?.message ?? signal}`);
process.exit(status ?? 1);
