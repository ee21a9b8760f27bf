// The pinned wheels that LibTorch is taken from where its zip is not available, and pip, which downloads them.
import type { StdioOptions } from 'node:child_process';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sha256OfFile } from '../disk/sha256.js';
import { UserError } from '../errors.js';
import { interpreters } from '../libtorch/python.js';
import { runProgram } from './run-program.js';

/** One wheel: its requirement, its SHA-256, its size in bytes, and which of its entries are unpacked. */
export interface Wheel {
  requirement: string;
  sha256: string;
  bytes: number;
  keep: (name: string) => boolean;
}

const onlyLibraries = (name: string) => /^nvidia\/.*\/lib\/[^/]+\.so[^/]*$/.test(name);
const headers = (name: string) => /^torch\/(include|share)\//.test(name) || name === 'torch/version.py';
const cpuLibraries = /^torch\/lib\/(libc10\.so|libtorch_cpu\.so|libgomp\.so\.1)$/;
const cudaLibraries = /^torch\/lib\/(?!libtorch_python|libshm)[^/]+\.so[^/]*$/;

function pin(requirement: string, bytes: number, sha256: string, keep = onlyLibraries): Wheel {
  return { requirement, sha256, bytes, keep };
}

const torch = '7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a';
const cupti = '4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8';
const runtime = '7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548';

/** What LibTorch's CPU library needs: even without a driver it opens the CUDA runtime and its profiler interface. */
export const cpuWheels: Wheel[] = [
  pin('torch==2.11.0', 530_604_548, torch, (name) => headers(name) || cpuLibraries.test(name)),
  pin('nvidia-cuda-runtime==13.0.96', 2_243_632, runtime, (name) => /\/libcudart\.so/.test(name)),
  pin('nvidia-cuda-cupti==13.0.85', 10_715_597, cupti, (name) => /\/libcupti\.so/.test(name)),
];

/** What CUDA needs: torch 2.11.0 names these versions as its requirements on Linux. */
export const cudaWheels: Wheel[] = [
  pin('torch==2.11.0', 530_604_548, torch, (name) => headers(name) || cudaLibraries.test(name)),
  pin('nvidia-cuda-runtime==13.0.96', 2_243_632, runtime),
  pin('nvidia-cuda-cupti==13.0.85', 10_715_597, cupti),
  pin('nvidia-cublas==13.1.0.3', 423_133_236, 'ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171'),
  pin('nvidia-cuda-nvrtc==13.0.88', 90_215_200, 'ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575'),
  pin('nvidia-cudnn-cu13==9.19.0.56', 366_066_321, 'd20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf'),
  pin('nvidia-cufft==12.0.0.61', 214_085_489, '6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3'),
  pin('nvidia-cufile==1.15.1.6', 1_223_672, '08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44'),
  pin('nvidia-curand==10.4.0.35', 59_544_258, '1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc'),
  pin('nvidia-cusolver==12.0.4.66', 200_941_980, '0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112'),
  pin('nvidia-cusparse==12.6.3.3', 145_942_937, '2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b'),
  pin('nvidia-cusparselt-cu13==0.8.0', 169_884_119, '25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd'),
  pin('nvidia-nccl-cu13==2.28.9', 196_493_177, 'e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42'),
  pin('nvidia-nvjitlink==13.0.88', 40_713_933, '13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b'),
  pin('nvidia-nvshmem-cu13==3.4.5', 60_412_546, '290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80'),
  pin('nvidia-nvtx==13.0.85', 148_047, '4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4'),
];

// pip takes platform tags one by one: every glibc that the wheels above name, up to torch's 2.28.
const platforms = ['manylinux2014_x86_64', ...Array.from({ length: 12 }, (_, i) => `manylinux_2_${17 + i}_x86_64`)];

/** The wheel's file in `folder`, if it is there with the right digest; a file with another digest is removed. */
export async function finishedWheel(wheel: Wheel, folder: string): Promise<string | undefined> {
  if (!existsSync(folder)) return undefined;
  const prefix = `${wheel.requirement.replace('==', '-').replace(/-(?!\d)/g, '_')}-`;
  for (const name of readdirSync(folder).filter((file) => file.startsWith(prefix) && file.endsWith('.whl'))) {
    const path = join(folder, name);
    if ((await sha256OfFile(path)) === wheel.sha256) return path;
    rmSync(path, { force: true });
  }
  return undefined;
}

/** The first Python in use that has pip, or undefined. */
export async function findPip(env: NodeJS.ProcessEnv = process.env): Promise<string | undefined> {
  for (const interpreter of interpreters(env)) {
    const outcome = await runProgram(interpreter, ['-m', 'pip', '--version'], { env }).catch(() => undefined);
    if (outcome?.code === 0) return interpreter;
  }
  return undefined;
}

/**
 * Has `pip download` (with the user's index, proxy and certificates) put one wheel into `folder`, and returns its path. The
 * digest is pinned: pip checks it, and so do we. A wheel that is there already is not downloaded again.
 * @throws UserError with the last error of pip
 */
export async function fetchWheel(
  wheel: Wheel,
  folder: string,
  options: { python: string; env?: NodeJS.ProcessEnv | undefined; signal?: AbortSignal | undefined },
): Promise<string> {
  const finished = await finishedWheel(wheel, folder);
  if (finished !== undefined) return finished;
  const env = { PIP_RESUME_RETRIES: '5', PIP_DISABLE_PIP_VERSION_CHECK: '1', ...(options.env ?? process.env) };
  const requirements = join(folder, `${wheel.requirement.split('==')[0]}.txt`);
  writeFileSync(requirements, `${wheel.requirement} --hash=sha256:${wheel.sha256}\n`);
  const show = process.stderr.isTTY === true;
  const target = ['--python-version', '3.11', '--implementation', 'cp', '--abi', 'cp311'];
  const args = [
    ...['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--require-hashes', '--no-input'],
    ...[...target, ...platforms.flatMap((platform) => ['--platform', platform])],
    ...['--dest', folder, '-r', requirements, ...(show ? [] : ['--progress-bar', 'off'])],
  ];
  // pip draws its progress bar on stdout: sent to stderr here, so that setup's output can be piped.
  const stdio: StdioOptions = ['ignore', show ? 2 : 'ignore', 'pipe'];
  const { code, stderr } = await runProgram(options.python, args, { env, stdio, signal: options.signal });
  rmSync(requirements, { force: true });
  if (code !== 0) {
    const errors = stderr.match(/^\s*error.*/gim);
    const reason = errors?.at(-1)?.trim() ?? `exit status ${code}`;
    throw new UserError(
      `pip could not download ${wheel.requirement} (${reason}). Check the connection and pip's index, then run setup again` +
        ' (what was downloaded is kept), or set LIBTORCH to a LibTorch folder.',
    );
  }
  const path = await finishedWheel(wheel, folder);
  if (path !== undefined) return path;
  throw new UserError(
    `The ${wheel.requirement} that pip downloaded does not have the expected SHA-256 ${wheel.sha256} and was removed.` +
      ' Check which index pip uses, then run setup again.',
  );
}
