// Reads from the environment which rank this process is, as torchrun, our launcher or Slurm set it.
import { UserError } from '../errors.js';
import { counted } from '../logging/text.js';

/** Which process of a run this is, and where the ranks meet. */
export interface Rank {
  /** Number of this process among all, counted from 0. */
  rank: number;
  worldSize: number;
  /** Number among those of this machine: modulo the number of GPUs, it is the GPU of this process. */
  localRank: number;
  /** How many ranks a launcher has started on this machine; undefined where none says so (Slurm). */
  localWorldSize?: number;
  masterAddr: string;
  masterPort: number;
  /** Whether torchrun's agent holds the store: then every rank is its client, rank 0 included. */
  agentStore: boolean;
  /** How often the ranks were started before. */
  restarts: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** torch.distributed's default port. */
export const DEFAULT_PORT = 29500;

/** The variable in which our launcher says when it first started its ranks, in milliseconds since 1970. */
export const LAUNCHED_AT = 'BLIP_LAUNCHED_AT';

/** When our launcher first started these ranks, if it has restarted them after a failure; else undefined. */
export function restartedSince(env: Environment): number | undefined {
  return (wholeNumber(env, 'TORCHELASTIC_RESTART_COUNT') ?? 0) > 0
    ? wholeNumber(env, LAUNCHED_AT, 0, Number.MAX_SAFE_INTEGER)
    : undefined;
}

/** The first host of Slurm's list, `node[03-05,9],gpu1` for instance: node03. */
export function firstSlurmHost(list: string): string {
  return list.trim().replace(/^([^,[]*)(?:\[(\d*)[^\]]*\])?([^,[]*).*$/s, '$1$2$3');
}

function wholeNumber(env: Environment, name: string, least = 0, most = 2 ** 31 - 1): number | undefined {
  const text = env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UserError(
    `Expected a whole number from ${least}${most < 2 ** 31 - 1 ? ` to ${most}` : ''} in the environment variable ${name} but received '${text}'. Unset it, or start with torchrun or --nproc_per_node.`,
    { exitCode: 2 },
  );
}

/**
 * This process's rank, or undefined when the environment names none: a run of one process. RANK with WORLD_SIZE comes
 * first, as in the reference, then SLURM_PROCID; the size is then `fallback.worldSize` (the flag `--world_size`) if that
 * is over 1, else Slurm's number of tasks. `fallback.localRank` is where LOCAL_RANK is not set.
 * @throws UserError (exit code 2) for a variable that is not a number, and for a rank that is not below the size
 */
export function rankFromEnvironment(
  env: Environment,
  fallback: { worldSize?: number; localRank?: number | undefined } = {},
): Rank | undefined {
  const direct = wholeNumber(env, 'RANK');
  const size = wholeNumber(env, 'WORLD_SIZE', 1);
  const torch = direct !== undefined && size !== undefined;
  const slurm = wholeNumber(env, 'SLURM_PROCID');
  const rank = torch ? direct : slurm;
  if (rank === undefined) return undefined;
  const flag = fallback.worldSize ?? 1;
  const tasks = wholeNumber(env, 'SLURM_STEP_NUM_TASKS', 1) ?? wholeNumber(env, 'SLURM_NTASKS', 1) ?? 1;
  const worldSize = torch ? size : flag > 1 ? flag : tasks;
  if (rank >= worldSize)
    throw new UserError(
      `${torch ? 'RANK' : 'SLURM_PROCID'} is ${rank} but there ${worldSize === 1 ? 'is' : 'are'} only ${counted(worldSize, 'process')} (${torch ? 'WORLD_SIZE' : '--world_size or SLURM_NTASKS'}). Ranks count from 0: correct one of the two.`,
      { exitCode: 2 },
    );
  const hosts = env.SLURM_STEP_NODELIST ?? env.SLURM_JOB_NODELIST ?? env.SLURM_NODELIST;
  const slurmHost = torch || hosts === undefined ? undefined : firstSlurmHost(hosts);
  // Jobs on one machine must not meet each other: the job's number spreads them over the ports.
  const job = torch ? undefined : wholeNumber(env, 'SLURM_JOB_ID');
  const localWorldSize = torch ? wholeNumber(env, 'LOCAL_WORLD_SIZE', 1) : undefined;
  return {
    rank,
    worldSize,
    localRank: wholeNumber(env, 'LOCAL_RANK') ?? fallback.localRank ?? wholeNumber(env, 'SLURM_LOCALID') ?? rank,
    ...(localWorldSize !== undefined && { localWorldSize }),
    masterAddr: env.MASTER_ADDR || slurmHost || '127.0.0.1',
    masterPort: wholeNumber(env, 'MASTER_PORT', 1, 65535) ?? (job === undefined ? DEFAULT_PORT : 20000 + (job % 10000)),
    agentStore: env.TORCHELASTIC_USE_AGENT_STORE === 'True',
    restarts: wholeNumber(env, 'TORCHELASTIC_RESTART_COUNT') ?? 0,
  };
}
