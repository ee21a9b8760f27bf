// Whether this process can use a GPU, and why not.
import { findAddon, readBuildRecord } from '../libtorch/addon-files.js';
import { nvidiaDriver } from '../libtorch/driver.js';
import { searchLibtorch } from '../libtorch/search.js';
import { native } from './native.js';

/** GPUs that LibTorch can use, or the reason why there is none, as a clause. */
export interface CudaState {
  count: number;
  problem?: string;
}

/** Loads the addon where it was not, and asks it for GPUs. */
export function cudaState(): CudaState {
  const count = native().deviceCount();
  if (count > 0) return { count };
  if (nvidiaDriver() === undefined) return { count, problem: 'this machine has no NVIDIA driver' };
  const { libtorch } = searchLibtorch({ recorded: readBuildRecord(findAddon())?.root });
  if (libtorch && !libtorch.hasCuda)
    return {
      count,
      problem: `LibTorch in ${libtorch.root} is a build for the CPU ("setup --cuda" fetches one with CUDA)`,
    };
  if (libtorch && libtorch.missingForCuda.length > 0)
    return { count, problem: `LibTorch's CUDA part needs ${libtorch.missingForCuda.join(', ')}, not found` };
  return { count, problem: 'there is an NVIDIA driver, but LibTorch sees no GPU (is CUDA_VISIBLE_DEVICES empty?)' };
}
