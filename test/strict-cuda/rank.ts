// One rank on a GPU: does the task named by its argument. Errors end it as the command line's do.
import assert from 'node:assert/strict';
import { ProcessGroup } from '#blip/distributed/process-group.js';
import { rankFromEnvironment } from '#blip/distributed/rank.js';
import { messageOf } from '#blip/errors.js';
import * as ops from '#blip/torch/ops.js';
import type { Device } from '#blip/torch/tensor.js';
import { parseDevice } from '#blip/training/options.js';

const place = rankFromEnvironment(process.env);
assert.ok(place, 'the environment gives a rank');
const milliseconds = (name: string, otherwise: number) => Number(process.env[name] ?? otherwise);
const device: Device = parseDevice(process.env.RANK_DEVICE ?? `cuda:${place.localRank}`);

const exchange = (group: ProcessGroup) => {
  const x = ops.to(ops.float32([group.rank + 1]), { device });
  group.allReduce(x);
  return x.item();
};

const tasks: Record<string, (group: ProcessGroup) => void> = {
  finishes(group) {
    assert.equal(exchange(group), 3);
  },
  /** The last rank does not come to the end. */
  lastStays(group) {
    exchange(group);
    process.stdout.write('done\n');
    if (group.rank === group.worldSize - 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
  throws(group) {
    exchange(group);
    throw new Error(`rank ${group.rank} has had enough`);
  },
  /** Leaves the group in use, and comes to the program's end. */
  forgets(group) {
    exchange(group);
    process.on('exit', () => process.stdout.write('an exit listener of its own\n'));
    process.exitCode = 7;
  },
  exchanges(group) {
    for (;;) exchange(group);
  },
};

try {
  const [, , task = ''] = process.argv;
  const group = ProcessGroup.init({
    ...place,
    device,
    joinTimeoutMs: milliseconds('JOIN_MS', 60_000),
    timeoutMs: milliseconds('COLLECTIVE_MS', 60_000),
  });
  tasks[task]?.(group);
  if (task !== 'forgets') group.destroy(milliseconds('PATIENCE_MS', 60_000));
} catch (error) {
  console.error(`error: ${messageOf(error)}`);
  process.exit(1);
}
