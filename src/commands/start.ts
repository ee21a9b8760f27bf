// Whether this process starts the ranks of its machine, or is one: flags and environment variables may say different things.
import type { Rank } from '../distributed/rank.js';
import { UserError } from '../errors.js';
import type { LaunchFlags } from './options.js';

type Environment = Readonly<Record<string, string | undefined>>;

export interface Start {
  /** How to start the ranks of this machine. Undefined where this process does the work itself. */
  machine?: LaunchFlags;
  /** Which rank this process is; undefined for a run of one process. */
  place?: Rank;
  /** Lines that say what was decided. */
  notes: string[];
}

/**
 * Decides between the launcher's flags and `variables`, the rank that the environment names. As under torchrun, which
 * overwrites the variables, the flags win where the variables say one process (a batch step of Slurm, a pod) or count the
 * machines. Where they count the ranks, the flags are not needed.
 * @throws UserError (exit code 2) where both say several, and not the same
 */
export function decideStart(variables: Rank | undefined, flags: LaunchFlags, env: Environment = process.env): Start {
  const { nprocPerNode, nnodes, maxRestarts, given } = flags;
  const ownRank = env.BLIP_LAUNCHER_PID !== undefined && variables !== undefined;
  const wanted = nprocPerNode !== '1' || nnodes > 1 || maxRestarts > 0;
  if (ownRank || !wanted)
    return {
      ...(variables && { place: variables }),
      notes: [...localRankNote(variables, flags), ...halfRankNote(variables, env)],
    };
  if (variables === undefined) return { machine: numbered(flags, env), notes: [] };

  const { rank, worldSize } = variables;
  const slurm = !(env.RANK && env.WORLD_SIZE);
  const names = slurm ? 'SLURM_PROCID and SLURM_NTASKS' : 'RANK and WORLD_SIZE';
  const asked = `--nproc_per_node ${nprocPerNode}`;
  if (worldSize === 1)
    return {
      machine: numbered(flags, env),
      notes: [`${names} name one process; ${asked} starts its own ranks all the same.`],
    };
  if (nnodes === worldSize)
    return {
      machine: { ...numbered(flags, env, variables) },
      notes: [`${names} are taken as machine ${rank} of ${worldSize}; ${asked} starts the ranks of this one.`],
    };
  // The script of a batch job is one process, whatever its job may start: only `srun` makes a step of several.
  const batch = slurm && rank === 0 && env.SLURM_STEP_ID === undefined && env.SLURM_STEP_NUM_TASKS === undefined;
  if (batch && nnodes === 1)
    return {
      machine: numbered(flags, env),
      notes: [`SLURM_NTASKS is ${worldSize}, but srun did not start this process; ${asked} starts its own ranks.`],
    };
  const ranks = Number(nprocPerNode) * nnodes;
  if (ranks === worldSize || ranks === 1 || (Number.isNaN(ranks) && nnodes === 1)) {
    const unneeded = given.filter((name) => ['nproc_per_node', 'nnodes', 'max_restarts'].includes(name));
    const needed = unneeded.map((name) => `--${name}`).join(', ');
    return {
      place: variables,
      notes: [`${names} say that this is rank ${rank} of ${worldSize}, started already; ${needed} starts no others.`],
    };
  }
  throw new UserError(
    `${names} say that this is process ${rank} of ${worldSize}, and ${asked}${nnodes > 1 ? ` with --nnodes ${nnodes}` : ''} asks for others. If each of the ${worldSize} is to start ranks of its own, pass --nnodes ${worldSize}; if they are the ranks, leave --nproc_per_node out; to start ranks here alone, unset ${names}.`,
    { exitCode: 2 },
  );
}

/** Among several machines, this one's number and where they meet, from the environment where the flags do not say it. */
function numbered(flags: LaunchFlags, env: Environment, variables?: Rank): LaunchFlags {
  const { nnodes, given } = flags;
  if (nnodes === 1) return flags;
  const says = (name: string) => given.includes(name);
  const slurm = env.SLURM_NNODES === String(nnodes) && /^\d+$/.test(env.SLURM_NODEID ?? '');
  const number = variables?.rank ?? (slurm ? Number(env.SLURM_NODEID) : undefined);
  if (!says('node_rank') && number === undefined && says('rdzv_endpoint'))
    throw new UserError(
      `--rdzv_endpoint gives no numbers to the ${nnodes} machines here. Pass --node_rank too: 0 on the machine of the endpoint, 1 to ${nnodes - 1} on the others.`,
      { exitCode: 2 },
    );
  return {
    ...flags,
    nodeRank: says('node_rank') ? flags.nodeRank : (number ?? flags.nodeRank),
    ...(variables && !says('master_addr') && !says('rdzv_endpoint') && { masterAddr: variables.masterAddr }),
    ...(variables && flags.masterPort === undefined && { masterPort: variables.masterPort }),
  };
}

function localRankNote(variables: Rank | undefined, { localRank }: LaunchFlags): string[] {
  if (localRank === undefined || variables !== undefined) return [];
  return ['--local_rank is not needed by a run of one process: it has no effect.'];
}

/** Half of what names a rank is a mistake of whoever started this: the others would wait for nobody. */
function halfRankNote(variables: Rank | undefined, { RANK, WORLD_SIZE }: Environment): string[] {
  if (variables !== undefined) return [];
  const remedy = 'Set both, or start with --nproc_per_node or torchrun.';
  if (WORLD_SIZE && Number(WORLD_SIZE) > 1 && !RANK)
    return [`WORLD_SIZE is ${WORLD_SIZE} but RANK is not set: this is a run of one process. ${remedy}`];
  if (RANK && !WORLD_SIZE)
    return [`RANK is ${RANK} but WORLD_SIZE is not set: this is a run of one process. ${remedy}`];
  return [];
}
