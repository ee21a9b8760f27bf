// Which device a run computes on. Ranks take a GPU each.
import type { Rank } from '../distributed/rank.js';
import { UserError } from '../errors.js';
import { type CudaState, cudaState, gpuIndex, resolveDevice } from '../torch/cuda.js';
import { native } from '../torch/native.js';
import type { Device } from '../torch/tensor.js';
import type { RetrievalOptions } from './options.js';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The device's name for LibTorch, which is made ready for it; prints where the CPU was chosen because there is no GPU. For
 * the CPU, LibTorch's CUDA libraries are not even opened. @throws UserError for a GPU that is not there
 */
export function chooseDevice(
  { device: choice, precision }: Pick<RetrievalOptions, 'device' | 'precision'>,
  rank: Rank | undefined,
  print: (line: string) => void,
): Device {
  if (choice === 'cpu') {
    native({ cuda: false });
    return 'cpu';
  }
  const cuda = cudaState();
  const several = rank !== undefined && rank.worldSize > 1;
  const { device, note } = resolveDevice(several && cuda.count > 0 ? gpuOfRank(rank, cuda) : choice, cuda);
  if (note !== undefined) print(note);
  const gpu = gpuIndex(device);
  if (gpu === undefined) return 'cpu';
  if (several && choice !== undefined && gpuIndex(choice) !== 0)
    print(`--device ${choice} is taken as cuda: each of the ${rank.worldSize} processes computes on a GPU of its own.`);
  native().setDevice(gpu);
  native().setTf32(precision === 'tf32');
  return device;
}

/**
 * Which of the `count` GPUs that this process sees is that of its rank.
 * @throws UserError (exit code 2) where the launcher has started more ranks on this machine than it has GPUs
 */
export function gpuOfRank(
  { localRank, localWorldSize }: Pick<Rank, 'localRank' | 'localWorldSize'>,
  { count }: Pick<CudaState, 'count'>,
  env: Environment = process.env,
): Device {
  // Slurm's tasks may see one GPU of their own each, and so may torchrun's ranks (--virtual-local-rank, or a script around
  // this program that sets CUDA_VISIBLE_DEVICES). Two that share a GPU after all are found by NCCL.
  const visible = env.CUDA_VISIBLE_DEVICES;
  const alike = env.BLIP_LAUNCHER_PID !== undefined || visible === undefined;
  if (localWorldSize !== undefined && localWorldSize > count && alike) {
    const gpus = count === 1 ? 'there is only 1 GPU' : `there are only ${count} GPUs`;
    const narrowed = visible === undefined ? '' : ` (CUDA_VISIBLE_DEVICES is '${visible}')`;
    throw new UserError(
      `${localWorldSize} processes were started on this machine, but ${gpus} for them${narrowed}. Use --nproc_per_node ${count}, or --device cpu.`,
      { exitCode: 2 },
    );
  }
  return `cuda:${localRank % count}`;
}
