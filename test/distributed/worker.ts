// One rank of a test: does the task named by its argument and prints JSON. Errors end it as the command line's do.
import assert from 'node:assert/strict';
import { DataParallel } from '#blip/distributed/data-parallel.js';
import { ProcessGroup } from '#blip/distributed/process-group.js';
import { rankFromEnvironment } from '#blip/distributed/rank.js';
import { messageOf } from '#blip/errors.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, scope } from '#blip/torch/tensor.js';
import { ROWS, STEPS, toyForward, toyInput, toyNumbers, toyUpdate, toyWeights } from './toy.js';

const place = rankFromEnvironment(process.env);
assert.ok(place, 'the environment gives a rank');
const milliseconds = (name: string, otherwise: number) => Number(process.env[name] ?? otherwise);

function join(): ProcessGroup {
  assert.ok(place);
  return ProcessGroup.init({
    ...place,
    joinTimeoutMs: milliseconds('JOIN_MS', 60_000),
    timeoutMs: milliseconds('COLLECTIVE_MS', 60_000),
  });
}

/** Exchanges until something ends it. */
function exchangeForEver(group: ProcessGroup): never {
  for (;;) group.allReduce(ops.float32([1]));
}

/** What a task returns that goes on in the event loop. */
const WAITING = Symbol('waiting');

const tasks: Record<string, (group: ProcessGroup) => unknown> = {
  collectives(group) {
    const reduced = ops.float32([group.rank + 1, 2]);
    group.allReduce(reduced);
    const sent = ops.float32([10 * group.rank]);
    group.broadcast(sent, 1);
    const gathered = group.allGather(ops.float32([group.rank, 7]));
    group.barrier();
    return {
      reduced: [...reduced.float32()],
      sent: [...sent.float32()],
      gathered: [...gathered.float32()],
    };
  },
  gathers(group) {
    const greatest = ops.int64([group.rank, -group.rank]);
    group.allReduce(greatest, 'max');
    const rows = [Int32Array.of(101, group.rank, 102), Int32Array.of(101, 5, 6, 7 + group.rank, 102)];
    const before = liveHandles();
    const texts = group.gatherTexts(rows, 5).map((row) => [...row]);
    const values = group.gatherValues({ rank: group.rank, name: 'ä'.repeat(group.rank * 10) });
    assert.equal(liveHandles(), before, 'gathering leaves no tensor behind');
    return { greatest: greatest.integers(), texts, values };
  },
  gradient(group) {
    const x = ops.float32([group.rank + 5, 3], [2, 1]);
    x.requiresGrad = true;
    const weights = ops.float32(
      [1, 2, 3, 4].map((value) => value * (group.rank + 1)),
      [4, 1],
    );
    const all = group.allGatherWithGradient(x);
    ops.sum(ops.mul(ops.mul(all, all), weights)).backward();
    return { gathered: [...all.float32()], gradient: [...(x.grad?.float32() ?? [])] };
  },
  train(group) {
    const toy = toyWeights(group.rank);
    const parallel = new DataParallel([toy.first, toy.second], [], group);
    for (let step = 0; step < STEPS; step++)
      scope(() => {
        parallel.beforeForward();
        const pass = toyForward(toy, toyInput(step, group.rank * ROWS, (group.rank + 1) * ROWS));
        parallel.backward(pass.backward, true);
        toyUpdate(toy);
      });
    group.barrier();
    parallel.dispose();
    return { weights: toyNumbers(toy) };
  },
  accumulate(group) {
    // Rows one by one, averaged with the last: the gradient of the mean is the sum of thirds.
    const toy = toyWeights(group.rank);
    const parallel = new DataParallel([toy.first, toy.second], [], group, { bucketMiB: 1e-5 });
    for (let step = 0; step < STEPS; step++) {
      for (let row = 0; row < ROWS; row++) {
        const last = row === ROWS - 1;
        if (last) parallel.beforeForward();
        const at = group.rank * ROWS + row;
        const pass = toyForward(toy, toyInput(step, at, at + 1));
        if (last) parallel.backward(pass.backward, true);
        else pass.backward();
      }
      for (const { grad } of [toy.first, toy.second]) if (grad) ops.divInPlace(grad, ROWS);
      toyUpdate(toy);
    }
    return { weights: toyNumbers(toy) };
  },
  unequal(group) {
    const sizes = group.rank === 0 ? [2] : [3];
    return new DataParallel([ops.zeros(sizes)], [], group);
  },
  asked(group) {
    // Ends itself with its own exit code, at a step's boundary, as training does.
    let signal: NodeJS.Signals | undefined;
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => (signal = name));
    group.barrier(); // a signal that came before another rank's handlers were there would end that rank at once
    process.stdout.write('ready\n');
    const step = () => {
      const stop = ops.float32([signal === undefined ? 0 : 1]);
      group.allReduce(stop, 'max');
      if (stop.item() === 0) return void setTimeout(step, 5);
      group.destroy();
      process.exit(signal === 'SIGTERM' ? 143 : 130);
    };
    step();
    return WAITING;
  },
  exchange(group) {
    process.stdout.write('exchanging\n');
    exchangeForEver(group);
  },
  lastThrows(group) {
    group.allReduce(ops.float32([1]));
    if (group.rank === group.worldSize - 1) throw new Error('the last rank has had enough');
    exchangeForEver(group);
  },
  lastHangs(group) {
    group.allReduce(ops.float32([1]));
    process.stdout.write('hanging\n');
    if (group.rank === group.worldSize - 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    exchangeForEver(group);
  },
  lastStays(group) {
    group.barrier();
    process.stdout.write('done\n');
    if (group.rank === group.worldSize - 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
  deaf(group) {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => {});
    group.barrier();
    process.stdout.write('deaf\n');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
  failsAtFirst(group) {
    group.allReduce(ops.float32([1]));
    if (group.rank === 1 && place.restarts === 0) throw new Error('the first time it does not work');
    group.barrier();
    return { restarts: place.restarts };
  },
  environment() {
    const { OMP_NUM_THREADS, LOCAL_RANK, LOCAL_WORLD_SIZE } = process.env;
    return { ...place, OMP_NUM_THREADS, LOCAL_RANK, LOCAL_WORLD_SIZE };
  },
};

try {
  const group = join();
  const result = tasks[process.argv[2] ?? '']?.(group);
  if (result !== WAITING) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    group.destroy(milliseconds('PATIENCE_MS', 60_000));
  }
} catch (error) {
  console.error(`error: ${messageOf(error)}`);
  process.exit(1);
}
