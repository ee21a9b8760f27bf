// process.exit while three workers compute.
import * as ops from '#blip/torch/ops.js';
import { scope } from '#blip/torch/tensor.js';
import { messageOf, runThreads, send, startWorker } from './threads.js';

function work(): void {
  const x = ops.zeros([200, 200]);
  send('started');
  for (;;) scope(() => void ops.matmul(x, x));
}

async function main(): Promise<void> {
  const workers = [1, 2, 3].map(() => startWorker(import.meta.url));
  await Promise.all(workers.map(messageOf));
  process.exit(7);
}

await runThreads(main, work);
