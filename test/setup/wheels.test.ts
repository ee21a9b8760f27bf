// The wheels that setup knows: each processor has its own, complete, and every library that the CPU part needs is taken.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pinnedWheels } from '#blip/setup/wheels.js';

const wheels = (variant: 'cpu' | 'cu130', arch: string) => pinnedWheels(variant, arch) ?? [];

for (const arch of ['x64', 'arm64']) {
  test(`of ${arch}: three for the CPU, sixteen for CUDA, of the same versions as those of the other processor`, () => {
    const [cpu, cuda] = [wheels('cpu', arch), wheels('cu130', arch)];
    assert.deepEqual([cpu.length, cuda.length], [3, 16]);
    for (const { sha256, bytes } of cuda) assert.ok(/^[0-9a-f]{64}$/.test(sha256) && bytes > 100_000);
    assert.equal(new Set(cuda.map((wheel) => wheel.sha256)).size, 16);
    const names = (list: typeof cuda) => list.map((wheel) => wheel.requirement);
    assert.deepEqual(names(cuda), names(wheels('cu130', 'x64')));
  });
}

test('no digest is shared by two processors', () => {
  const digests = ['x64', 'arm64'].flatMap((arch) => wheels('cu130', arch).map((wheel) => wheel.sha256));
  assert.equal(new Set(digests).size, 32);
});

test("on arm64 the CPU part's own libraries are taken, and none of CUDA's", () => {
  const [torch] = wheels('cpu', 'arm64');
  const taken = (name: string) => torch?.keep(`torch/lib/${name}`);
  const needed = ['libc10.so', 'libtorch_cpu.so', 'libgomp.so.1', 'libgfortran.so.5', 'libarm_compute.so'];
  const nvpl = ['libarm_compute_graph.so', 'libnvpl_blas_core.so.0', 'libnvpl_lapack_lp64_gomp.so.0'];
  assert.deepEqual(
    [...needed, ...nvpl].filter((name) => !taken(name)),
    [],
  );
  assert.deepEqual(['libc10_cuda.so', 'libtorch_cuda.so', 'libtorch_python.so'].filter(taken), []);
});

test('no wheel is known for another processor', () => {
  assert.equal(pinnedWheels('cpu', 'riscv64'), undefined);
});
