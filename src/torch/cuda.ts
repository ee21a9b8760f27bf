// Which device a run uses: whether LibTorch has a GPU here, why not, and the choice.
import { UserError } from '../errors.js';
import { findAddon, readBuildRecord } from '../libtorch/addon-files.js';
import { nvidiaDriver } from '../libtorch/driver.js';
import { searchLibtorch } from '../libtorch/search.js';
import { native } from './native.js';
import type { Device } from './tensor.js';

/** How many GPUs LibTorch can use; where none, `problem` says why, as a clause: `this machine has no NVIDIA driver`. */
export interface CudaState {
  count: number;
  problem?: string;
}

/** Index of the GPU that a device names, or undefined where it names none. */
export function gpuIndex(device: Device): number | undefined {
  const [kind, index = '0'] = device.split(':');
  return kind === 'cuda' ? Number(index) : undefined;
}

/** Loads the addon if necessary, and asks it for GPUs. */
export function cudaState(): CudaState {
  const count = native().deviceCount();
  if (count > 0) return { count };
  if (nvidiaDriver() === undefined) return { count, problem: 'this machine has no NVIDIA driver' };
  const { libtorch } = searchLibtorch({ recorded: readBuildRecord(findAddon())?.root });
  if (libtorch && !libtorch.hasCuda)
    return {
      count,
      problem: `LibTorch in ${libtorch.root} is a CPU build ("setup --cuda" fetches one with CUDA)`,
    };
  if (libtorch && libtorch.missingForCuda.length > 0)
    return { count, problem: `${libtorch.missingForCuda.join(', ')}, which LibTorch's CUDA part needs, was not found` };
  return { count, problem: 'there is an NVIDIA driver, but LibTorch sees no GPU (is CUDA_VISIBLE_DEVICES empty?)' };
}

/**
 * The device to run on.
 * @returns the device, and a line to print when the CPU was chosen because there is no GPU
 * @throws UserError that says why when an explicit GPU is not there
 */
export function resolveDevice(choice: Device | undefined, cuda: CudaState): { device: Device; note?: string } {
  const why = cuda.problem ?? 'LibTorch sees no GPU';
  if (choice === undefined) {
    return cuda.count > 0 ? { device: 'cuda:0' } : { device: 'cpu', note: `Running on the CPU: ${why}.` };
  }
  const [kind, index = 0] = choice.split(':');
  if (kind === 'cpu' || Number(index) < cuda.count) return { device: choice };
  if (cuda.count === 0)
    throw new UserError(`Device cuda cannot be used: ${why}. Run \`doctor\` for details, or choose cpu.`);
  const seen = cuda.count === 1 ? 'is 1 GPU, number 0' : `are ${cuda.count} GPUs, numbered from 0`;
  throw new UserError(`Device ${choice} cannot be used: there ${seen}. Choose cuda:${cuda.count - 1}.`);
}
