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
const cudaLibraries = /^torch\/lib\/(?!libtorch_python|libshm)[^/]+\.so[^/]*$/;

type Pin = [requirement: string, bytes: number, sha256: string];

function pin([requirement, bytes, sha256]: Pin, keep = onlyLibraries): Wheel {
  return { requirement, sha256, bytes, keep };
}

/** torch's wheel, and those that torch 2.11.0 names as its requirements on Linux, for one processor. */
interface Pins {
  torch: Pin;
  /** Torch's own libraries that its CPU part needs. */
  cpuLibraries: RegExp;
  runtime: Pin;
  cupti: Pin;
  others: Pin[];
}

const pins: Readonly<Record<string, Pins>> = {
  x64: {
    torch: ['torch==2.11.0', 530_604_548, '7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a'],
    cpuLibraries: /^torch\/lib\/(libc10\.so|libtorch_cpu\.so|libgomp\.so\.1)$/,
    runtime: [
      'nvidia-cuda-runtime==13.0.96',
      2_243_632,
      '7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548',
    ],
    cupti: [
      'nvidia-cuda-cupti==13.0.85',
      10_715_597,
      '4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8',
    ],
    others: [
      ['nvidia-cublas==13.1.0.3', 423_133_236, 'ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171'],
      ['nvidia-cuda-nvrtc==13.0.88', 90_215_200, 'ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575'],
      ['nvidia-cudnn-cu13==9.19.0.56', 366_066_321, 'd20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf'],
      ['nvidia-cufft==12.0.0.61', 214_085_489, '6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3'],
      ['nvidia-cufile==1.15.1.6', 1_223_672, '08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44'],
      ['nvidia-curand==10.4.0.35', 59_544_258, '1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc'],
      ['nvidia-cusolver==12.0.4.66', 200_941_980, '0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112'],
      ['nvidia-cusparse==12.6.3.3', 145_942_937, '2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b'],
      [
        'nvidia-cusparselt-cu13==0.8.0',
        169_884_119,
        '25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd',
      ],
      ['nvidia-nccl-cu13==2.28.9', 196_493_177, 'e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42'],
      ['nvidia-nvjitlink==13.0.88', 40_713_933, '13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b'],
      ['nvidia-nvshmem-cu13==3.4.5', 60_412_546, '290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80'],
      ['nvidia-nvtx==13.0.85', 148_047, '4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4'],
    ],
  },
  arm64: {
    torch: ['torch==2.11.0', 419_718_178, 'd91aac77f24082809d2c5a93f52a5f085032740a1ebc9252a7b052ef5a4fddc6'],
    cpuLibraries: /^torch\/lib\/lib(c10|torch_cpu|gomp|gfortran|arm_compute(_graph)?|nvpl_\w+)\.so(\.\d+)?$/,
    runtime: [
      'nvidia-cuda-runtime==13.0.96',
      2_261_060,
      'ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55',
    ],
    cupti: [
      'nvidia-cuda-cupti==13.0.85',
      10_310_827,
      '796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151',
    ],
    others: [
      ['nvidia-cublas==13.1.0.3', 542_851_226, 'c86fc7f7ae36d7528288c5d88098edcb7b02c633d262e7ddbb86b0ad91be5df2'],
      ['nvidia-cuda-nvrtc==13.0.88', 43_015_449, 'd27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b'],
      ['nvidia-cudnn-cu13==9.19.0.56', 433_781_201, '6ed29ffaee1176c612daf442e4dd6cfeb6a0caa43ddcbeb59da94953030b1be4'],
      ['nvidia-cufft==12.0.0.61', 214_053_554, '2708c852ef8cd89d1d2068bdbece0aa188813a0c934db3779b9b1faa8442e5f5'],
      ['nvidia-cufile==1.15.1.6', 1_136_992, 'bdc0deedc61f548bddf7733bdc216456c2fdb101d020e1ab4b88d232d5e2f6d1'],
      ['nvidia-curand==10.4.0.35', 61_962_106, '133df5a7509c3e292aaa2b477afd0194f06ce4ea24d714d616ff36439cee349a'],
      ['nvidia-cusolver==12.0.4.66', 223_467_760, '02c2457eaa9e39de20f880f4bd8820e6a1cfb9f9a34f820eb12a155aa5bc92d2'],
      ['nvidia-cusparse==12.6.3.3', 162_155_568, '80bcc4662f23f1054ee334a15c72b8940402975e0eab63178fc7e670aa59472c'],
      [
        'nvidia-cusparselt-cu13==0.8.0',
        220_791_277,
        '400c6ed1cf6780fc6efedd64ec9f1345871767e6a1a0a552a1ea0578117ea77c',
      ],
      ['nvidia-nccl-cu13==2.28.9', 196_561_677, '01c873ba1626b54caa12272ed228dc5b2781545e0ae8ba3f432a8ef1c6d78643'],
      ['nvidia-nvjitlink==13.0.88', 38_768_748, 'e931536ccc7d467a98ba1d8b89ff7fa7f1fa3b13f2b0069118cd7f47bff07d0c'],
      ['nvidia-nvshmem-cu13==3.4.5', 60_215_947, '6dc2a197f38e5d0376ad52cd1a2a3617d3cdc150fd5966f4aee9bcebb1d68fe9'],
      ['nvidia-nvtx==13.0.85', 148_878, 'cb7780edb6b14107373c835bf8b72e7a178bac7367e23da7acb108f973f157a6'],
    ],
  },
};

/** The wheels of a variant for a processor; undefined where none are known. Those for CUDA need driver 580. */
export function pinnedWheels(variant: 'cpu' | 'cu130', arch: string = process.arch): Wheel[] | undefined {
  const known = pins[arch];
  if (known === undefined) return undefined;
  const { torch, cpuLibraries, runtime, cupti, others } = known;
  const torchWith = (libraries: RegExp) => pin(torch, (name) => headers(name) || libraries.test(name));
  if (variant === 'cu130') return [torchWith(cudaLibraries), ...[runtime, cupti, ...others].map((it) => pin(it))];
  // Even without a driver LibTorch's CPU library opens the CUDA runtime and its profiler interface.
  return [
    torchWith(cpuLibraries),
    pin(runtime, (name) => /\/libcudart\.so/.test(name)),
    pin(cupti, (name) => /\/libcupti\.so/.test(name)),
  ];
}

// pip takes platform tags one by one: every glibc that the wheels above name, up to torch's 2.28.
const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
const platforms = [
  `manylinux2014_${machine}`,
  ...Array.from({ length: 12 }, (_, i) => `manylinux_2_${17 + i}_${machine}`),
];

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
