// Four workers compute at once, each with its own modes: noGrad in one does not reach another.
import * as ops from '#blip/torch/ops.js';
import { liveHandles, noGrad, scope } from '#blip/torch/tensor.js';
import { resultOf, runThreads, send, startWorker } from './threads.js';

function work(first: number): void {
  const x = ops.full([64, 64], 1 / 64);
  let sum = 0;
  noGrad(() => {
    for (let i = 0; i < 500; i++)
      scope(() => {
        sum = ops.sum(ops.matmul(x, ops.full([64, 64], first + i))).item();
      });
  });
  x.requiresGrad = true;
  const records = scope(() => ops.mul(x, 2).requiresGrad);
  x.dispose();
  send({ mean: sum / 64 ** 2, records });
}

async function main(): Promise<void> {
  const before = liveHandles();
  const workers = [1, 2, 3, 4].map((first) => startWorker(import.meta.url, first));
  const results = await Promise.all(workers.map(resultOf));
  console.log(JSON.stringify(results));
  console.log(liveHandles() - before);
}

await runThreads(main, work);
