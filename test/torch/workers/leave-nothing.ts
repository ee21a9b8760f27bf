// A worker that is terminated (argument `terminated`) or ends by itself: of what it made, only the alias that it made for
// its parent is left.
import { once } from 'node:events';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, scope, Tensor } from '#blip/torch/tensor.js';
import { messageOf, runThreads, send, startWorker } from './threads.js';

interface Made {
  shared: number;
  tensor: number;
  generator: number;
  liveHandles: number;
}

function work(forever: boolean): void {
  const [x, y] = [ops.zeros([100]), ops.full([3], 1)];
  const generator = native().createGenerator(1);
  scope(() => {
    for (let i = 0; i < 500; i++) ops.add(x, i);
    const shared = native().alias(y.handle);
    send({ shared, tensor: x.handle, generator, liveHandles: liveHandles() } satisfies Made);
    if (forever) for (;;) ops.add(x, 1).dispose();
  });
}

async function main(): Promise<void> {
  const terminated = process.argv[2] === 'terminated';
  const worker = startWorker(import.meta.url, terminated);
  const ended = once(worker, 'exit');
  const made = await messageOf<Made>(worker);
  if (terminated) void worker.terminate();
  await ended;
  console.log(`${made.liveHandles} while it worked, ${liveHandles()} after`);
  console.log(JSON.stringify([made.shared, made.tensor, made.generator].map((handle) => native().isLive(handle))));
  console.log(JSON.stringify([...new Tensor(made.shared).float32()]));
}

await runThreads(main, work);
