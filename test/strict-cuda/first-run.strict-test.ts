// The first minutes on a GPU (scripts/gpu-first-run.sh), rehearsed on the stand-in: packed into a folder, and run there by a
// shell that has no Node. Covers scripts/gpu-first-run.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { findAddon, readBuildRecord } from '#blip/libtorch/addon-files.js';
import { onPath } from '#blip/libtorch/python.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

const folder = temporaryFolder();
const packed = join(folder, 'packed');
const bin = join(folder, 'bin');

before(() => {
  // What packs has the checkout's own LibTorch; a folder instead of an archive, which would take a minute.
  const { LIBTORCH: _libtorch, NODE_OPTIONS: _options, ...env } = process.env;
  const script = join(projectRoot, 'scripts/gpu-first-run.sh');
  const { status, stderr } = spawnSync('bash', [script, 'pack', `${packed}/`], { env, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  mkdirSync(bin);
  for (const name of ['bash', 'cat', 'dirname', 'uname']) symlinkSync(onPath(name) ?? `/bin/${name}`, join(bin, name));
});

/** Runs the packed script with these arguments; its results are in the folder `out`. */
async function firstRun(out: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const command = ['gpu-first-run.sh', '--small', '--out', out, ...args];
  const child = spawn(join(bin, 'bash'), command, {
    cwd: packed,
    env: { ...process.env, PATH: bin, TMPDIR: folder, ...env },
  });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.resume();
  const code = await new Promise((resolve) => child.on('close', resolve));
  return { code, stdout, summary: readFileSync(join(out, 'summary.txt'), 'utf8') };
}

test('the packed folder has what runs, and nothing that only builds or checks', () => {
  for (const name of ['bin/node', 'build/Release/torch.node', 'build/Release/libblip_nccl.so', 'dist/cli.js'])
    assert.ok(existsSync(join(packed, name)), name);
  const packages = readdirSync(join(packed, 'node_modules'));
  assert.ok(packages.includes('sharp'));
  assert.deepEqual(
    packages.filter((name) => /^(cmake-js|typescript|@biomejs|node-addon-api)$/.test(name)),
    [],
  );
});

test('machine, probe and evaluation run there, and end with a summary of at most 30 lines', async () => {
  const out = join(folder, 'out');
  const { code, stdout, summary } = await firstRun(out, ['--part', 'probe', 'evaluate']);
  assert.equal(code, 0, stdout);
  assert.deepEqual(readdirSync(out).sort(), ['log.txt', 'results.json', 'summary.txt']);
  assert.ok(summary.trimEnd().split('\n').length <= 30, summary);
  assert.ok(stdout.endsWith(summary));
  assert.match(summary, /^GPU first run: .*; commit \w+/);
  assert.match(summary, /^ok {7}machine .* the program sees the driver/m);
  assert.match(summary, /^ok {7}probe /m);
  assert.match(summary, /^ok {7}evaluate .* recalls in fp32 are the CPU's/m);
  assert.match(summary, /attention bf16, a new shape: .* expected < 5, else finding 1/);
  assert.match(readFileSync(join(out, 'log.txt'), 'utf8'), /^==== evaluate-bf16: cli --device cuda .*: exit 0, /m);
});

test('a probe that sees no GPU ends the run with the end of its log', async () => {
  const root = readBuildRecord(findAddon())?.root ?? '';
  const args = ['--part', 'probe', 'evaluate'];
  const { code, stdout, summary } = await firstRun(join(folder, 'none'), args, {
    LIBTORCH: root,
    CUDA_VISIBLE_DEVICES: '',
  });
  assert.equal(code, 1);
  assert.match(stdout, /^Nothing after probe can work\. The end of its log:$/m);
  assert.match(stdout, /^No GPU: .+$/m);
  assert.match(summary, /^FAILED {3}probe /m);
  assert.doesNotMatch(summary, /evaluate/);
});

test('a summary of many figures keeps those that miss their expectation', async () => {
  const module: { summary(report: object): string } = await import(
    pathToFileURL(join(projectRoot, 'scripts/gpu-first-run/report.mjs')).href
  );
  const figures = Array.from({ length: 50 }, (_, i) => ({
    name: `figure ${i}`,
    value: i,
    unit: 'ms',
    expected: '< 48',
    ok: i < 48,
  }));
  const parts = Array.from({ length: 16 }, (_, i) => ({
    name: `part${i}`,
    status: 'ok',
    seconds: i,
    note: 'x'.repeat(500),
    figures: [],
  }));
  const report = { machine: 'GPU', commit: 'c', seconds: 1, limit: 570, parts: [...parts, { ...parts[0], figures }] };
  const lines = module.summary(report).trimEnd().split('\n');
  assert.equal(lines.length, 30);
  assert.ok(lines.every((line) => line.length <= 150));
  assert.deepEqual(
    lines.filter((line) => line.startsWith('LOOK')).map((line) => /figure \d+/.exec(line)?.[0]),
    ['figure 48', 'figure 49'],
  );
  assert.match(lines.at(-2) ?? '', /… \d+ more figures$/);
});
