// `doctor`: the shape of its JSON, what it says of a sound installation, and of broken ones.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { type NcclParts, ncclDefects, type Report } from '#blip/setup/examine.js';
import { fakeTorch } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyCheckpoint } from '../helpers/tiny-run.js';

function doctor(args: string[], env: NodeJS.ProcessEnv = {}) {
  const options = { env: { ...process.env, ...env }, encoding: 'utf8' } as const;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(projectRoot, 'dist/cli.js'), 'doctor', ...args],
    options,
  );
  return { status, stdout, stderr };
}

function report(env: NodeJS.ProcessEnv = {}): { status: number | null; report: Report } {
  const { status, stdout, stderr } = doctor(['--json'], env);
  assert.equal(stderr, '');
  return { status, report: JSON.parse(stdout) };
}

test('a sound installation: everything is told, and the exit code is 0', () => {
  const { status, report: found } = report();
  assert.deepEqual(Object.keys(found), [
    'usable',
    'node',
    'platform',
    'addon',
    'libtorch',
    'gpus',
    'threads',
    'sharp',
    'caches',
    'torchrun',
    'defects',
  ]);
  assert.deepEqual([status, found.usable], [0, true]);
  assert.equal(found.node.version, process.versions.node);
  assert.deepEqual([found.addon.built, found.addon.loads, found.addon.error], [true, true, null]);
  // Compiled where LibTorch has its CUDA headers, else it is said why not.
  assert.equal(found.addon.nccl, found.addon.ncclDefect === null);
  assert.ok(found.libtorch.found && found.libtorch.root !== null);
  assert.match(found.libtorch.version ?? '', /^2\.\d+\.\d+/);
  assert.ok('formats' in found.sharp && found.sharp.formats.includes('jpeg') && found.sharp.formats.includes('png'));
  assert.ok(found.threads.cores >= 1 && found.threads.memoryBytes > 0);
  assert.equal(found.caches.length, 2);
  assert.deepEqual(
    found.defects.filter((defect) => defect.fatal),
    [],
  );
});

test('the table has the same parts, and ends with a verdict', () => {
  const { status, stdout } = doctor([]);
  assert.equal(status, 0);
  const titles = stdout.split('\n').map((line) => /^[A-Za-z]+(?= {2,})/.exec(line)?.[0]);
  for (const title of ['Node', 'System', 'Addon', 'NCCL', 'LibTorch', 'GPU', 'Threads', 'sharp', 'Cache', 'torchrun']) {
    assert.ok(titles.includes(title), `no line ${title}`);
  }
  assert.match(stdout, /\n(Everything is in order\.|Usable, but:\n[\s\S]*)\n$/);
});

test('a command that needs LibTorch says where it was searched, and nothing of the file that it reads', async (t) => {
  const folder = temporaryFolder(t);
  const checkpoint = await tinyCheckpoint(folder);
  const { code, stderr } = await runCli(['export', checkpoint, join(folder, 'out')], {
    LIBTORCH: join(folder, 'none'),
  });
  assert.equal(code, 1);
  assert.match(stderr, /^error: LIBTORCH is \S+none: there is no such folder\. Name a LibTorch folder/);
  assert.doesNotMatch(stderr, /Name a readable file/);
});

test('a LibTorch that is not there, or lacks a library, makes it unusable: exit code 1, and what to do', (t) => {
  const folder = temporaryFolder(t);
  const absent = report({ LIBTORCH: join(folder, 'nowhere') });
  assert.deepEqual([absent.status, absent.report.usable, absent.report.libtorch.found], [1, false, false]);
  assert.equal(absent.report.libtorch.looked[0]?.outcome, 'there is no such folder');
  assert.match(
    absent.report.addon.error ?? '',
    /^LIBTORCH is \S+nowhere: there is no such folder\. Name a LibTorch folder/,
  );
  const root = fakeTorch(folder, { without: ['nvidia/cu13/lib/libcudart.so.13'] });
  const { status, stdout } = doctor([], { LIBTORCH: root });
  assert.equal(status, 1);
  assert.match(stdout, /searched .*: lib\/libtorch_cpu\.so cannot be opened: libcudart\.so\.13 is missing/);
  assert.match(stdout, /Not usable:\n {2}- no LibTorch was found\n {4}run "npx blip-retrieval setup"/);
});

test('libraries that cannot be opened are seen without doctor going down with them', (t) => {
  // Sound by its headers, without one instruction in it: only opening it tells.
  const { status, report: found } = report({ LIBTORCH: fakeTorch(temporaryFolder(t)) });
  assert.deepEqual([status, found.libtorch.found, found.addon.loads], [1, true, false]);
  assert.ok((found.addon.error ?? '').length > 0);
  assert.ok(found.defects.some(({ what, fatal }) => fatal && what.startsWith('the addon does not load: ')));
});

test("several GPUs without NCCL's part of the addon: what is amiss, and the command that mends it", () => {
  const gpu = { name: 'NVIDIA H100', memoryMiB: 81559, driver: '580.65' };
  const lacking: NcclParts = {
    gpus: { list: [gpu, gpu] },
    libtorch: { cuda: true },
    addon: { built: true, nccl: false, ncclDefect: 'it did not compile' },
  };
  assert.deepEqual(ncclDefects(lacking), [
    {
      what: 'the 2 GPUs cannot work together: the addon was built without NCCL: it did not compile',
      todo: 'run "npx blip-retrieval setup --cuda --force"; one process on one GPU works without it',
      fatal: false,
    },
  ]);
  for (const sound of [
    { ...lacking, gpus: { list: [gpu] } },
    { ...lacking, libtorch: { cuda: false } },
    { ...lacking, addon: { ...lacking.addon, nccl: true } },
    { ...lacking, addon: { ...lacking.addon, built: false } },
  ])
    assert.deepEqual(ncclDefects(sound), []);
});

test('a number of threads that is none is pointed out, and is not fatal', () => {
  const { status, report: found } = report({ OMP_NUM_THREADS: 'many' });
  assert.equal(status, 0);
  assert.ok(
    found.defects.some(
      ({ what, fatal }) => !fatal && what === 'OMP_NUM_THREADS is "many", which is not a number of threads',
    ),
  );
});
