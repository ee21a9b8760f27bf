// Eight training steps on two ranks against the reference's under DistributedDataParallel, negatives from all ranks:
// losses of each rank, gradients after their exchange, the final state.
// Covers distributed/data-parallel, process-group, model/training-model, queues, losses, torch/adamw.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { absent, fixture } from '../helpers/fixtures.js';
import { bothRun } from '../helpers/ranks.js';

// Recomputed blocks have a backward pass of several calls: gradients of one step come in phases.
for (const checkpointedBlocks of [0, 2])
  test(`ddp.json: two ranks, ${checkpointedBlocks} blocks recomputed`, async (t) => {
    const missing = ['ddp.json', 'ddp.safetensors', 'tiny.pth', 'data'].find((name) => fixture(name) === undefined);
    if (missing) return t.skip(absent(missing));
    assert.deepEqual(await bothRun('golden-worker.js', [String(checkpointedBlocks)]), [{ steps: 8 }, { steps: 8 }]);
  });
