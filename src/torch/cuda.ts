// Which device a run uses: whether LibTorch has a GPU here, why not, and the choice.
import { UserError } from '../errors.js';
import { recordedLibtorch } from '../libtorch/addon-files.js';
import { type Driver, nvidiaDriver } from '../libtorch/driver.js';
import { searchLibtorch } from '../libtorch/search.js';
import { native } from './native.js';
import type { Device } from './tensor.js';

/** How many GPUs LibTorch can use; where none, `problem` says why, as a clause: `this machine has no NVIDIA driver`. */
export interface CudaState {
  count: number;
  problem?: string;
  /** GPUs of `count` for which LibTorch has no kernels, each by its number, with a clause that says so. */
  tooOld?: ReadonlyMap<number, string>;
}

/** The oldest GPUs that LibTorch's builds for CUDA 13 have kernels for: Turing. Those for CUDA 12 take any that is in use. */
const LEAST_CAPABILITY = { major: 7, minor: 5 };

/** Loads the addon if necessary, and asks it for GPUs. */
export function cudaState(): CudaState {
  const count = native().deviceCount();
  if (count > 0) {
    const tooOld = oldGpus(count);
    return { count, ...(tooOld.size > 0 && { tooOld }) };
  }
  const said = native().whyNoGpu();
  const driver = nvidiaDriver();
  if (driver === undefined && said === null) return { count, problem: 'this machine has no NVIDIA driver' };
  const { libtorch } = searchLibtorch({ recorded: recordedLibtorch() });
  if (libtorch && !libtorch.hasCuda)
    return {
      count,
      problem: `LibTorch in ${libtorch.root} is a CPU build ("setup --cuda" fetches one with CUDA)`,
    };
  if (libtorch && libtorch.missingForCuda.length > 0)
    return { count, problem: `${libtorch.missingForCuda.join(', ')}, which LibTorch's CUDA part needs, was not found` };
  return { count, problem: whyUnused(said, driver) };
}

/**
 * Why LibTorch's CUDA part uses no GPU, as a clause: `said` are its own words, of which the first sentence says what is
 * wrong and the others name addresses.
 */
export function whyUnused(said: string | null, driver?: Driver, env: NodeJS.ProcessEnv = process.env): string {
  const visible = env.CUDA_VISIBLE_DEVICES;
  const hidden = visible === undefined ? '' : `; CUDA_VISIBLE_DEVICES is '${visible}'`;
  const [words] = said?.split(/\.(?:\s|$)/) ?? [];
  const seen = driver?.version === undefined ? 'an NVIDIA driver' : `NVIDIA driver ${driver.version}`;
  const remedy = /driver on your system is too old/.test(said ?? '')
    ? '; update it, or run "setup --cuda", which fetches a LibTorch for it'
    : hidden;
  return `there is ${seen}, but LibTorch ${words === undefined ? 'sees no GPU' : `says: "${words}"`}${remedy}`;
}

/** Those of `count` GPUs that this LibTorch has no kernels for. */
function oldGpus(count: number): Map<number, string> {
  const old = new Map<number, string>();
  for (let index = 0; index < count; index++) {
    const capability = native().deviceCapability(index);
    if (capability === null || !isTooOld(capability)) continue;
    const { libtorch } = searchLibtorch({ recorded: recordedLibtorch() });
    if (!/\+cu1[3-9]/.test(libtorch?.build ?? '')) return old;
    const { major, minor } = LEAST_CAPABILITY;
    const name = native().deviceName(index) ?? 'its GPU';
    old.set(
      index,
      `${name} has compute capability ${capability.join('.')}, and LibTorch ${libtorch?.build} needs ${major}.${minor}`,
    );
  }
  return old;
}

function isTooOld([major, minor]: readonly [number, number]): boolean {
  return major < LEAST_CAPABILITY.major || (major === LEAST_CAPABILITY.major && minor < LEAST_CAPABILITY.minor);
}

/** 1 of 'cuda:1', 0 of 'cuda'; undefined of 'cpu'. */
export function gpuIndex(device: Device): number | undefined {
  return device === 'cpu' ? undefined : Number(device.split(':')[1] ?? 0);
}

/**
 * The device to run on.
 * @returns the device, and a line to print when the CPU was chosen because there is no GPU
 * @throws UserError that says why when an explicit GPU is not there
 */
export function resolveDevice(choice: Device | undefined, cuda: CudaState): { device: Device; note?: string } {
  const why = cuda.problem ?? 'LibTorch sees no GPU';
  if (choice === undefined) {
    const usable = Array.from({ length: cuda.count }, (_, index) => index).find((index) => !cuda.tooOld?.has(index));
    if (usable !== undefined) return { device: `cuda:${usable}` };
    return { device: 'cpu', note: `Running on the CPU: ${cuda.tooOld?.get(0) ?? why}.` };
  }
  const index = gpuIndex(choice);
  if (index === undefined) return { device: choice };
  const old = cuda.tooOld?.get(index);
  if (old !== undefined)
    throw new UserError(
      `Device ${choice} cannot be used: ${old}. Set LIBTORCH to a build for CUDA 12.6, name the other GPUs in CUDA_VISIBLE_DEVICES, or choose cpu.`,
    );
  if (index < cuda.count) return { device: choice };
  if (cuda.count === 0)
    throw new UserError(`Device cuda cannot be used: ${why}. Run \`doctor\` for details, or choose cpu.`);
  const seen = cuda.count === 1 ? 'is 1 GPU, number 0' : `are ${cuda.count} GPUs, numbered from 0`;
  throw new UserError(`Device ${choice} cannot be used: there ${seen}. Choose cuda:${cuda.count - 1}.`);
}
