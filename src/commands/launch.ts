// Starts the ranks of a run on this machine, when several processes are wanted and no other launcher started them.
import { launch, processesPerNode } from '../distributed/launcher.js';
import { loadConfig } from '../model/architecture.js';
import { cudaState } from '../torch/cuda.js';
import type { LaunchFlags, RetrievalOptions } from './options.js';

/**
 * Starts `--nproc_per_node` ranks of this program with the same arguments (`argv`: script, then arguments) and waits for
 * them. `notes` are printed first.
 * @returns the exit code: 0, that of the first rank that failed, or 128 and the number of a signal
 * @throws UserError for a config that no rank could use, once and before any rank is started
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
  if (!options.quiet) for (const note of notes) console.log(note);
  const counted = flags.nprocPerNode === 'gpu' || flags.nprocPerNode === 'auto';
  const nproc = processesPerNode(flags.nprocPerNode, counted ? cudaState().count : 0);
  const { nnodes, nodeRank, masterAddr, masterPort, maxRestarts } = flags;
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
