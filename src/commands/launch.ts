// Starts the ranks of a run on this machine, when several processes are wanted and no other launcher started them.
import { launch, processesPerNode } from '../distributed/launcher.js';
import { canDrawProgress } from '../logging/progress-bar.js';
import { fitted } from '../logging/terminal.js';
import { loadConfig } from '../model/architecture.js';
import { type CudaState, cudaState } from '../torch/cuda.js';
import type { LaunchFlags, RetrievalOptions } from './options.js';

/**
 * Starts `--nproc_per_node` ranks of this program with the same arguments (`argv`: script, then arguments) and waits for
 * them. `notes` are printed first.
 * @returns the exit code: 0, that of the first rank that failed, or 128 and the number of a signal
 * @throws UserError for a config that no rank could use, and for `--nproc_per_node gpu` without a GPU: once, and before any
 * rank is started
 */
export async function launchRanks(
  options: RetrievalOptions,
  flags: LaunchFlags,
  notes: readonly string[],
  argv: readonly string[],
): Promise<number> {
  loadConfig(options.config, options.set, {
    training: !options.evaluate,
    strictConfig: options.strictConfig,
  });
  if (!options.quiet) for (const note of notes) console.log(fitted(note));
  const nproc = ranksHere(options, flags);
  const { nnodes, nodeRank, masterAddr, masterPort, maxRestarts } = flags;
  // The terminal's ^C; what has stopped is the first rank's to say.
  if (canDrawProgress(process.stderr)) process.on('SIGINT', () => process.stderr.write('\r\x1b[2K'));
  return launch({
    nproc,
    argv,
    nnodes,
    nodeRank,
    masterAddr,
    maxRestarts,
    ...(masterPort === undefined ? {} : { masterPort }),
  });
}

/** How many ranks the flags ask for on this machine. */
export function ranksHere(options: RetrievalOptions, { nprocPerNode }: LaunchFlags): number {
  return processesPerNode(nprocPerNode, gpusFor(nprocPerNode, options));
}

/** The GPUs that count for `--nproc_per_node`; LibTorch is opened only where they do. */
function gpusFor(nproc: string, { device }: Pick<RetrievalOptions, 'device'>): Pick<CudaState, 'count' | 'problem'> {
  if (device === 'cpu') return { count: 0, problem: '--device cpu leaves all GPUs alone' };
  return nproc === 'gpu' || nproc === 'auto' ? cudaState() : { count: 0 };
}
