// The ranks of a run as the training loop sees them, over a process group.
import type { DataParallel } from '../distributed/data-parallel.js';
import type { ProcessGroup } from '../distributed/process-group.js';
import * as ops from '../torch/ops.js';
import { scope } from '../torch/tensor.js';
import type { RankState } from './checkpoint.js';
import type { Ranks } from './train.js';

export function ranksOf(group: ProcessGroup, parallel: DataParallel): Ranks {
  return {
    rank: group.rank,
    gatherStates({ random, meters }) {
      const cpu = group.gatherBytes(random.cpu);
      const cuda = group.gatherBytes(random.cuda ?? new Uint8Array());
      return group.gatherValues(meters).map((of, rank): RankState => {
        const [host, device] = [cpu[rank] ?? new Uint8Array(), cuda[rank] ?? new Uint8Array()];
        return { random: device.length === 0 ? { cpu: host } : { cpu: host, cuda: device }, meters: of };
      });
    },
    gather: (own) => group.gatherValues(own),
    any: (flag) =>
      scope(() => {
        const asked = ops.int64([flag ? 1 : 0]);
        group.allReduce(asked, 'max');
        return asked.item() === 1;
      }),
    beforeForward: () => parallel.beginStep(),
    backward: (body, average) => (average ? parallel.backward(body) : body()),
  };
}
