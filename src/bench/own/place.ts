// Which rank this process of `bench ranks` is; any other measured process is the only one.
import { ProcessGroup } from '../../distributed/process-group.js';
import { oneRank, type Ranks } from '../../distributed/ranks.js';

let joined: Ranks = oneRank;

/** The ranks that share what is measured. */
export const ranks = (): Ranks => joined;

/** Meets the others, where `place` (of the command line, since RANK in the environment is somebody else's) says there are some. */
export function join(place: readonly string[]): void {
  const [rank, worldSize, masterPort] = place.map(Number);
  if (rank === undefined || worldSize === undefined || masterPort === undefined) return;
  const here = { localRank: rank, localWorldSize: worldSize, masterAddr: '127.0.0.1', agentStore: false, restarts: 0 };
  joined = ProcessGroup.init({ rank, worldSize, masterPort, ...here });
}
