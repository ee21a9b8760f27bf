// LibTorch's real CUDA library on a machine without a driver: it is opened between libtorch_cpu and the addon, whatever runs on
// the CPU runs beside it, and what needs a GPU is a sentence. With a driver, npm run test:gpu tells more.
// Covers torch/load, native/nccl.cc. BLIP_CUDA_LIBTORCH names the folder `torch` of a pip torch with CUDA.
import assert from 'node:assert/strict';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { findAddon, readBuildRecord } from '#blip/libtorch/addon-files.js';
import { nvidiaDriver } from '#blip/libtorch/driver.js';
import { askPythons } from '#blip/libtorch/python.js';
import { inspectLibtorch, sameMinor } from '#blip/libtorch/search.js';
import { projectRoot } from '../helpers/fixtures.js';
import { freePort } from '../helpers/ranks.js';
import { runNodeWith } from '../helpers/run-node.js';

/** The folder of a LibTorch with all CUDA libraries, or why there is none. */
function cudaLibtorch(): { root: string } | { why: string } {
  if (nvidiaDriver() !== undefined) return { why: 'there is an NVIDIA driver: npm run test:gpu' };
  const named = process.env.BLIP_CUDA_LIBTORCH;
  const roots = named === undefined ? askPythons(process.env).map(({ torch }) => torch) : [named];
  const why = ["no Python here has torch: BLIP_CUDA_LIBTORCH names the folder of pip's torch with CUDA"];
  for (const root of roots) {
    if (root === undefined) continue;
    const found = inspectLibtorch(root, 'python');
    if (typeof found === 'string') why.push(`${root}: ${found}`);
    else if (!found.hasCuda) why.push(`${root} has no CUDA`);
    else if (found.missingForCuda.length > 0) why.push(`${root} lacks ${found.missingForCuda.join(', ')}`);
    else if (!sameMinor(found.version, readBuildRecord(findAddon())?.version ?? ''))
      why.push(`${root} is ${found.version}`);
    else return { root };
  }
  return { why: why.at(-1) ?? '' };
}

const libtorch = cudaLibtorch();
const skip = 'why' in libtorch ? libtorch.why : false;

/** Runs `code` in a Node that takes this machine for one with a driver. */
async function beside(code: string): Promise<unknown> {
  const root = 'root' in libtorch ? libtorch.root : '';
  const program = `
    import { createRequire } from 'node:module';
    import { findAddon } from '#blip/libtorch/addon-files.js';
    const opened = [];
    const boot = createRequire(process.cwd() + '/package.json')(findAddon().boot);
    const { open } = boot;
    boot.open = (path, global) => (opened.push(path), open(path, global));
    const { dlopen } = process;
    process.dlopen = (module, path, ...flags) => (opened.push(path), dlopen.call(process, module, path, ...flags));
    const { native: load } = await import('#blip/torch/native.js');
    const ops = await import('#blip/torch/ops.js');
    const native = load();
    const failure = (run) => { try { run(); return 'no error'; } catch (error) { return error.name + ': ' + error.message; } };
    const answer = await (async () => { ${code} })();
    console.log(JSON.stringify(answer));`;
  const pretend = join(projectRoot, 'scripts/gpu-first-run/driver.cjs');
  const env = { ...process.env, LIBTORCH: root, NODE_OPTIONS: '' };
  const result = await runNodeWith(['--require', pretend, '--input-type=module', '-e', program], { env });
  assert.deepEqual([result.code, result.signal], [0, null], result.stderr);
  return JSON.parse(result.stdout);
}

test('it is opened after libtorch_cpu and before the addon', { skip }, async () => {
  const opened = await beside('return opened;');
  assert.ok(Array.isArray(opened));
  const order = ['libc10.so', 'libtorch_cpu.so', 'libtorch_cuda.so', 'torch.node'];
  assert.deepEqual(
    opened.map((path) => basename(String(path))).filter((name) => order.includes(name)),
    order,
  );
});

test('seeds, precision and a backward pass on the CPU run beside it', { skip }, async () => {
  const code = `
    native.setTf32(true);
    native.setTf32(false);
    native.manualSeed(7);
    const x = ops.float32([1, 2, 3]);
    x.requiresGrad = true;
    ops.sum(ops.mul(x, x)).backward();
    return { gpus: native.deviceCount(), gradient: [...x.grad.float32()] };`;
  assert.deepEqual(await beside(code), { gpus: 0, gradient: [2, 4, 6] });
});

test("a tensor on a GPU is refused in the words of LibTorch's CUDA part", { skip }, async () => {
  // Without that part in the dispatcher it would say that PyTorch is not linked with support for cuda devices.
  assert.match(String(await beside("return failure(() => ops.zeros([1], { device: 'cuda:0' }));")), /NVIDIA driver/);
});

test("NCCL's part of the addon comes as far as the missing GPU", { skip }, async () => {
  const place = `{ rank: 0, worldSize: 1, localRank: 0, masterAddr: '127.0.0.1', agentStore: false, restarts: 0 }`;
  const code = `
    const { ProcessGroup } = await import('#blip/distributed/process-group.js');
    return failure(() => ProcessGroup.init({ ...${place}, masterPort: ${await freePort()}, device: 'cuda:0' }));`;
  assert.match(String(await beside(code)), /ProcessGroupNCCL is only supported with GPUs, no GPUs found/);
});
