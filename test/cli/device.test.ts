// --device: what is chosen when nothing is said, and why an explicit GPU is refused.
// Covers torch/cuda, commands/choose-device.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gpuOfRank } from '#blip/commands/choose-device.js';
import { UserError } from '#blip/errors.js';
import { resolveDevice, whyUnused } from '#blip/torch/cuda.js';
import { parseDevice } from '#blip/training/options.js';

const none = { count: 0, problem: 'this machine has no NVIDIA driver' };

test('names', () => {
  assert.equal(parseDevice('cpu'), 'cpu');
  assert.equal(parseDevice('cuda'), 'cuda:0');
  assert.equal(parseDevice('cuda:01'), 'cuda:1');
  for (const wrong of ['', 'CPU', 'cuda:', 'cuda:x', 'cuda:-1', 'mps'])
    assert.throws(() => parseDevice(wrong), /Expected/);
});

test('without a choice: the first GPU, else the CPU with a line that says why', () => {
  assert.deepEqual(resolveDevice(undefined, { count: 2 }), { device: 'cuda:0' });
  assert.deepEqual(resolveDevice(undefined, none), {
    device: 'cpu',
    note: 'Running on the CPU: this machine has no NVIDIA driver.',
  });
});

test('an explicit choice is obeyed or refused with the reason', () => {
  assert.deepEqual(resolveDevice('cpu', { count: 2 }), { device: 'cpu' });
  assert.deepEqual(resolveDevice('cuda:1', { count: 2 }), { device: 'cuda:1' });
  const refuses = (run: () => unknown, message: RegExp) =>
    assert.throws(run, (error: unknown) => error instanceof UserError && message.test(error.message));
  refuses(
    () => resolveDevice('cuda:0', none),
    /Device cuda cannot be used: this machine has no NVIDIA driver\. Run `doctor`/,
  );
  refuses(() => resolveDevice('cuda:1', { count: 1 }), /there is 1 GPU, number 0\. Choose cuda:0\./);
  refuses(() => resolveDevice('cuda:5', { count: 2 }), /there are 2 GPUs, numbered from 0\. Choose cuda:1\./);
});

test('a GPU that is too old for LibTorch is passed over, and refused when it is asked for', () => {
  const cuda = { count: 2, tooOld: new Map([[0, 'its GPU has compute capability 6.1, and LibTorch needs 7.5']]) };
  assert.deepEqual(resolveDevice(undefined, cuda), { device: 'cuda:1' });
  assert.deepEqual(resolveDevice(undefined, { ...cuda, count: 1 }), {
    device: 'cpu',
    note: 'Running on the CPU: its GPU has compute capability 6.1, and LibTorch needs 7.5.',
  });
  assert.throws(() => resolveDevice('cuda:0', cuda), {
    name: 'UserError',
    message:
      /^Device cuda:0 cannot be used: its GPU has compute capability 6\.1, .* Set LIBTORCH to a build for CUDA 12/,
  });
});

test("LibTorch's words for why it sees no GPU become a clause with their remedy", () => {
  const old =
    'The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver.';
  const driver = { version: '535.183.01', seen: '' };
  assert.equal(
    whyUnused(old, driver, {}),
    'there is NVIDIA driver 535.183.01, but LibTorch says: "The NVIDIA driver on your system is too old (found version 12020)"; update it, or run "setup --cuda", which fetches a LibTorch for it',
  );
  assert.equal(
    whyUnused('No CUDA GPUs are available', undefined, { CUDA_VISIBLE_DEVICES: '' }),
    `there is an NVIDIA driver, but LibTorch says: "No CUDA GPUs are available"; CUDA_VISIBLE_DEVICES is ''`,
  );
  assert.equal(
    whyUnused('Unexpected error from cudaGetDeviceCount(). Did you run', undefined, {}),
    'there is an NVIDIA driver, but LibTorch says: "Unexpected error from cudaGetDeviceCount()"',
  );
  assert.equal(whyUnused(null, undefined, {}), 'there is an NVIDIA driver, but LibTorch sees no GPU');
});

test('ranks take a GPU each, and no more ranks than GPUs are taken from a launcher', () => {
  const own = { BLIP_LAUNCHER_PID: '1' };
  const rank = (localRank: number, localWorldSize?: number) => ({
    localRank,
    ...(localWorldSize !== undefined && { localWorldSize }),
  });
  assert.equal(gpuOfRank(rank(3, 4), { count: 4 }, own), 'cuda:3');
  const refuses = (localWorldSize: number, count: number, env: Record<string, string>, message: RegExp) =>
    assert.throws(() => gpuOfRank(rank(0, localWorldSize), { count }, env), {
      name: 'UserError',
      exitCode: 2,
      message,
    });
  refuses(
    8,
    2,
    own,
    /^8 processes were started on this machine, but there are only 2 GPUs for them\. Use --nproc_per_node 2, or --device cpu\.$/,
  );
  refuses(2, 1, {}, /there is only 1 GPU for them/);
  refuses(2, 1, { ...own, CUDA_VISIBLE_DEVICES: '3' }, /for them \(CUDA_VISIBLE_DEVICES is '3'\)\./);
  // Slurm, and scripts around a rank, may show each rank a GPU of its own.
  assert.equal(gpuOfRank(rank(3), { count: 1 }, {}), 'cuda:0');
  assert.equal(gpuOfRank(rank(3, 4), { count: 1 }, { CUDA_VISIBLE_DEVICES: '3' }), 'cuda:0');
});
