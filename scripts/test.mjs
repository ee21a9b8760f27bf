// Runs the tests, after everything they need is in place.
// Usage: node scripts/test.mjs [--gpu | --trials | --cuda-strict | --node-versions] [--test-…] [part of a file's path]…
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { bootstrap, ensureTests, root } from './build-steps.mjs';
import { ensureStrictCuda } from './strict-cuda.mjs';

const args = process.argv.slice(2);

// What can depend on Node's version, each of these files in some seconds: test/README.md says what is among it, and why.
const nodeVersions = [
  // the package, its exports and its program, in a project of somebody else's
  ...['package/exports', 'package/import-order', 'package/installed'],
  // main commands with one rank and two, their signals, streams and child processes
  ...['cli/evaluate', 'cli/several', 'cli/signals', 'cli/output', 'cli/usage'],
  ...['distributed/launcher', 'server/command', 'server/routes', 'examples/examples'],
  // the addon: handles and their finalizers, worker threads, the end of a process
  ...['torch/addon-arguments', 'torch/exit', 'torch/handles', 'torch/mapped-file', 'torch/operator', 'torch/scope'],
  ...['torch/worker', 'data/loader/loader', 'data/loader/no-libtorch', 'retriever/calls', 'retriever/thread'],
  // files, locks and permissions; http and https; terminals
  ...['disk/folder', 'disk/lock-file', 'disk/stale-files', 'torch/checkpoint/open', 'torch/checkpoint/write'],
  ...['download/download', 'download/hard-servers', 'logging/terminal'],
].map((name) => `test/${name}.test.ts`);
/** On the stand-in for CUDA: what a device takes part in (test/helpers/device.ts has what is left out). */
const onDevice = [
  ...['cli/demo', 'cli/evaluate', 'cli/evaluate-ranks', 'cli/several', 'cli/signals', 'cli/train', 'cli/train-mishaps'],
  ...['cli/embed-score', 'retriever/calls', 'retriever/indexes', 'retriever/scores', 'retriever/thread'],
  ...['server/routes', 'distributed/golden'],
].map((name) => `test/${name}.test.ts`);

// Tests that share one GPU's memory, and trials that take time, run one at a time.
const kinds = {
  '': [{ ending: '.test.ts', concurrency: 2 }],
  '--node-versions': [{ files: nodeVersions, concurrency: 2 }],
  '--gpu': [{ ending: '.gpu-test.ts', concurrency: 1 }],
  '--trials': [{ ending: '.trial-test.ts', concurrency: 1 }],
  // On the stand-in of test/strict-cuda: what needs a GPU, and what runs on the CPU otherwise.
  '--cuda-strict': [
    { title: 'the stand-in', ending: '.strict-test.ts', concurrency: 2 },
    // Numbers are drawn as on the CPU, where the law tests take all draws.
    { title: 'GPU tests', ending: '.gpu-test.ts', concurrency: 2, env: { BLIP_LAW_SHARE: '0.5' } },
    {
      title: 'the command line and retrievers on cuda, and two ranks',
      files: onDevice,
      concurrency: 2,
      env: { BLIP_TEST_DEVICE: 'cuda' },
    },
  ],
};
const kind = Object.keys(kinds).find((flag) => args.includes(flag)) ?? '';
const forNode = args.filter((arg) => arg.startsWith('--') && arg !== kind);
const filters = args.filter((arg) => !arg.startsWith('--'));

await bootstrap();
ensureTests();
const strict = kind === '--cuda-strict' ? await ensureStrictCuda() : { env: {} };
if (strict.skip !== undefined) {
  console.log(`Skipped: ${strict.skip}.`);
  process.exit(0);
}

// From the sources, not from .build, where a test that was removed may be left.
const paths = readdirSync(join(root, 'test'), { withFileTypes: true, recursive: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
  .filter((path) => filters.length === 0 || filters.some((filter) => path.includes(filter)))
  .sort();
const unknown = kinds[kind].flatMap(({ files = [] }) => files).filter((file) => !existsSync(join(root, file)));
if (unknown.length > 0) {
  console.error(`scripts/test.mjs names test files that do not exist: ${unknown.join(', ')}`);
  process.exit(2);
}
const parts = kinds[kind]
  .map(({ ending, files, ...part }) => ({
    ...part,
    sources: paths.filter((path) => files?.includes(path) ?? path.endsWith(ending)),
  }))
  .filter(({ sources }) => sources.length > 0);
if (parts.length === 0) {
  console.error(`No test file of this kind has ${filters.join(' or ')} in its path.`);
  process.exit(2);
}

// The spec reporter prints failures after its summary; TAP's summary, which ends the run, comes from a second reporter.
const scratch = mkdtempSync(join(tmpdir(), 'blip-test-'));
const summary = new Map();
let exitCode = 0;
for (const [number, { title, sources, concurrency, env }] of parts.entries()) {
  if (title !== undefined) console.log(`\n# ${title}`);
  const tap = join(scratch, `tap${number}`);
  const reporters = [
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=tap',
    `--test-reporter-destination=${tap}`,
  ];
  const files = sources.map((path) => join('.build', path.replace(/\.ts$/, '.js')));
  const { status, signal, error } = spawnSync(
    process.execPath,
    ['--test', `--test-concurrency=${concurrency}`, ...reporters, ...forNode, ...files],
    {
      cwd: root,
      stdio: 'inherit',
      env: { OMP_NUM_THREADS: '1', ...process.env, ...strict.env, ...env },
    },
  );
  if (error || signal) console.error(`The tests ended early: ${error?.message ?? signal}`);
  if (status !== 0) exitCode ||= status ?? 1;
  if (!existsSync(tap)) continue;
  for (const line of readFileSync(tap, 'utf8').split('\n')) {
    const count = /^# (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) ([\d.]+)/.exec(line);
    if (count) summary.set(count[1], (summary.get(count[1]) ?? 0) + Number(count[2]));
  }
}
rmSync(scratch, { recursive: true, force: true });
console.log([...summary].map(([name, count]) => `# ${name} ${count}`).join('\n'));
process.exit(exitCode);
