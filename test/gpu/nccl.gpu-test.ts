// A process group on a GPU: NCCL's part of the addon opens, and its collectives and gradients are those of Gloo.
// Covers native/nccl.cc, distributed/process-group on a GPU.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProcessGroup } from '#blip/distributed/process-group.js';
import { cudaState } from '#blip/torch/cuda.js';
import * as ops from '#blip/torch/ops.js';
import { freePort } from '../helpers/ranks.js';

const { count, problem } = cudaState();
const skip = count > 0 ? false : `no GPU: ${problem}`;
const device = 'cuda:0';

test('one rank alone: all_reduce, all_gather with gradient, barrier', { skip }, async () => {
  const alone = { rank: 0, worldSize: 1, localRank: 0, masterAddr: '127.0.0.1', agentStore: false, restarts: 0 };
  const group = ProcessGroup.init({ ...alone, masterPort: await freePort(), device });
  const x = ops.to(ops.float32([1, 2], [2, 1]), { device });
  group.allReduce(x);
  x.requiresGrad = true;
  const all = group.allGatherWithGradient(x);
  ops.sum(ops.mul(all, all)).backward();
  group.barrier();
  assert.deepEqual([...all.float32()], [1, 2]);
  assert.deepEqual([...(x.grad?.float32() ?? [])], [2, 4]);
  group.destroy();
});
