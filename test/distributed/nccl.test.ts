// NCCL's part of the addon, which is compiled everywhere and opened on GPUs only: what it exports and what it asks for.
// Covers native/nccl.cc, distributed/process-group (ncclLibrary).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ncclLibrary } from '#blip/distributed/nccl.js';
import { addonFilesIn, buildFolder, findAddon, readBuildRecord } from '#blip/libtorch/addon-files.js';
import { readDynamic } from '#blip/libtorch/elf.js';

const library = addonFilesIn(buildFolder()).nccl;
const record = readBuildRecord(findAddon());
// A LibTorch that was itself compiled without CUDA has no ProcessGroupNCCL to make.
const cudaHeaders = join(record?.root ?? '', 'include/c10/cuda/impl/cuda_cmake_macros.h');
const skip = existsSync(cudaHeaders) ? false : `${record?.root} has no headers of LibTorch's CUDA part`;

/** Dynamic symbols as `nm` lists them, those of glibc and the C++ library (they have versions) left away. */
function symbols(path: string, which: '--defined-only' | '--undefined-only'): string[] {
  const { status, stdout, stderr } = spawnSync('nm', ['-D', '--format=just-symbols', which, path], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  assert.equal(status, 0, stderr);
  return stdout.split('\n').filter((name) => name !== '' && !name.includes('@'));
}

test('it is built, exports its entry, and links no library of LibTorch or CUDA', { skip }, () => {
  assert.ok(existsSync(library), `${library}: ${record?.ncclDefect}`);
  assert.ok(symbols(library, '--defined-only').includes('blip_nccl_backend'));
  const system = /^(libstdc\+\+|libgcc_s|libm|libc)\.so/;
  assert.deepEqual(
    readDynamic(library)?.needed.filter((name) => !system.test(name)),
    [],
  );
});

test('it asks LibTorch for two constructors, and CUDA and NCCL for nothing', { skip }, () => {
  const wanted = symbols(library, '--undefined-only').filter((name) => !/^(_ITM_|__gmon_start__)/.test(name));
  // The stand-ins of CUDA's headers are no more than declarations: nothing that they declare may be called.
  assert.deepEqual(
    wanted.map((name) => /^_ZN4c10d16ProcessGroupNCCL(7Options)?C1E/.exec(name)?.[0] ?? name),
    ['_ZN4c10d16ProcessGroupNCCL7OptionsC1E', '_ZN4c10d16ProcessGroupNCCLC1E'],
  );
  const cuda = join(record?.root ?? '', 'lib/libtorch_cuda.so');
  if (!existsSync(cuda)) return; // a LibTorch for the CPU
  const offered = new Set(symbols(cuda, '--defined-only'));
  assert.deepEqual(
    wanted.filter((name) => !offered.has(name)),
    [],
  );
});

test('where it was not built, the error names it and the command that builds it', () => {
  assert.throws(() => ncclLibrary(addonFilesIn('/nowhere')), {
    name: 'UserError',
    message: /\/nowhere\/libblip_nccl\.so does not exist\. Run "npx blip-retrieval setup --cuda --force"/,
  });
});
