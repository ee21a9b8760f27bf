// What the ranks of a run exchange in an evaluation: the interface EvaluationRanks of src/evaluation/evaluate.ts.
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { ProcessGroup } from './process-group.js';

/** Rows (n_r, E) of every rank r → (Σ n_r, E) in rank order; a rank may have none. */
function gatherRows(group: ProcessGroup, x: Tensor): Tensor {
  return scope(() => {
    const counts = group.gatherValues(x.size(0));
    const most = Math.max(...counts);
    const missing = most - x.size(0);
    const padding = () => ops.zeros([missing, ...x.shape.slice(1)], { device: x.device });
    const all = group.allGather(missing > 0 ? ops.cat([x, padding()]) : ops.contiguous(x));
    return ops.cat(counts.map((count, rank) => ops.slice(all, 0, rank * most, rank * most + count)));
  });
}

/** The exchange of an evaluation over `group`. */
export function evaluationRanksOf(group: ProcessGroup) {
  return {
    rank: group.rank,
    worldSize: group.worldSize,
    gatherRows: (x: Tensor): Tensor => gatherRows(group, x),
    broadcast: (x: Tensor): void => group.broadcast(x),
    sum: (values: Float32Array): Float32Array =>
      scope(() => {
        const total = ops.float32(values);
        group.allReduce(total);
        return total.float32();
      }),
  };
}
