// Which device the command line takes, where there are GPUs: all of a machine, too few, none that LibTorch can use, and
// none at all where the CPU is chosen.
// Covers commands/choose-device, launch; torch/cuda, native, load; libtorch/driver.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { startCommand } from '../helpers/command.js';
import { put } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyRun } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
before(() => tinyRun(folder));

const args = (output: string, ...more: string[]) => [
  ...['--config', join(folder, 'train.yaml'), '--output_dir', join(folder, output), '--log_every', '1', ...more],
];
const run = (more: string[], env: NodeJS.ProcessEnv = {}) =>
  runCli(args('out', '--max_steps', '1', ...more), { OMP_NUM_THREADS: '1', ...env });

/** Whether a process has LibTorch's CUDA library open. */
const hasCuda = (pid: number | string) => readFileSync(`/proc/${pid}/maps`, 'utf8').includes('/libtorch_cuda.so');

test('--nproc_per_node gpu: a process on each GPU; an explicit cuda:1 is then said to be none', async () => {
  const { code, stdout, stderr } = await run(['--nproc_per_node', 'gpu', '--device', 'cuda:1'], {
    STRICT_CUDA_DEVICES: '2',
  });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Train Epoch: \[0\] {2}\[0\/6\]/m); // 48 rows, 4 on each of 2 ranks
  assert.match(stdout, /^--device cuda:1 is taken as cuda: each of the 2 processes computes on a GPU of its own\.$/m);
});

test('more processes than GPUs: wrong usage, with both numbers', async () => {
  const { code, stderr } = await run(['--nproc_per_node', '3'], { STRICT_CUDA_DEVICES: '2' });
  assert.equal(code, 2, stderr);
  const sentence =
    '3 processes were started on this machine, but there are only 2 GPUs for them. Use --nproc_per_node 2, or --device cpu.';
  assert.ok(stderr.includes(`error: ${sentence}\n`), stderr);
  assert.match(stderr, /^error: First cause, rank \d: 3 processes were started/m);
});

test('--device cpu opens nothing of CUDA, while image loaders run too; and cuda does', async () => {
  for (const device of ['cpu', 'cuda']) {
    const command = startCommand(args(device, '--device', device, '--set', 'max_epoch=20'));
    await command.says('Train Epoch: [0]  [ 1/12]');
    const threads = readFileSync(`/proc/${command.pid}/status`, 'utf8');
    assert.match(threads, /^Threads:\s+\d\d/m);
    assert.equal(hasCuda(command.pid), device === 'cuda', device);
    command.kill('SIGKILL');
    await command.ended;
  }
});

test('--device cpu takes no GPU into account in the number of processes either', async () => {
  const { code, stderr } = await run(['--nproc_per_node', 'gpu', '--device', 'cpu']);
  assert.equal(code, 2);
  assert.equal(
    stderr,
    'error: --nproc_per_node gpu needs a GPU, but --device cpu leaves all GPUs alone. Pass a number or cpu.\n',
  );
});

test('a worker opens CUDA only if the thread that started it has', () => {
  const native = JSON.stringify(join(projectRoot, 'dist/torch/native.js'));
  const program = `
    import { native } from ${native};
    import { readFileSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    native({ cuda: process.argv[1] === 'cuda' });
    const worker = new Worker('import(' + ${JSON.stringify(native)} + ').then((m) => m.native().getThreads())', { eval: true });
    worker.on('error', (error) => { throw error; });
    worker.on('exit', () => console.log(readFileSync('/proc/self/maps', 'utf8').includes('/libtorch_cuda.so')));
  `;
  for (const device of ['cpu', 'cuda']) {
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program, device], {
      encoding: 'utf8',
    });
    assert.equal(stdout, `${device === 'cuda'}\n`, stderr);
  }
});

test('where LibTorch can use no GPU, its own words say why, and a driver that is too old its remedy', async () => {
  const old =
    'The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx';
  for (const [env, why] of [
    [
      { STRICT_CUDA_WHY: old },
      '"The NVIDIA driver on your system is too old (found version 12020)"; update it, or run',
    ],
    [{ CUDA_VISIBLE_DEVICES: '' }, `"No CUDA GPUs are available"; CUDA_VISIBLE_DEVICES is ''. Run`],
    [{}, '"No CUDA GPUs are available". Run'],
  ] as const) {
    const { code, stderr } = await run(['--device', 'cuda'], { STRICT_CUDA_DEVICES: '0', ...env });
    assert.equal(code, 1);
    const start = 'error: Device cuda cannot be used: there is an NVIDIA driver, but LibTorch says: ';
    assert.ok(stderr.startsWith(`${start}${why}`), stderr);
  }
});

test('a GPU that LibTorch has no kernels for is named before any work', async (t) => {
  const home = temporaryFolder(t);
  const source = put(
    join(home, 'libcuda.c'),
    `#include <string.h>
    int cuDeviceGetName(char* name, int length, int device) { strncpy(name, "Tesla V100", length); return 0; }
    int cuDeviceGetAttribute(int* value, int attribute, int device) {
      *value = attribute == 75 ? (device == 0 ? 7 : 9) : attribute == 76 ? 0 : -1;
      return 0;
    }`,
  );
  const library = join(home, 'libcuda.so.1');
  const compiled = spawnSync('cc', ['-shared', '-fPIC', '-Wl,-soname,libcuda.so.1', '-o', library, source]);
  assert.equal(compiled.status, 0, String(compiled.stderr));
  // The driver is seen on LD_LIBRARY_PATH, without what the other tests preload.
  const env = { NODE_OPTIONS: '', LD_LIBRARY_PATH: home, LD_PRELOAD: library };
  const explicit = await run(['--device', 'cuda'], env);
  assert.equal(explicit.code, 1);
  assert.match(
    explicit.stderr,
    /^error: Device cuda:0 cannot be used: Tesla V100 has compute capability 7\.0, and LibTorch 2\.11\.\d+\+cu13\d needs 7\.5\. Set/,
  );
  const chosen = await run(['--quiet'], env); // the next one
  assert.equal(chosen.code, 0, chosen.stderr);
});
