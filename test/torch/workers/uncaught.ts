// A worker does not catch an error of the addon: its parent gets it.
import { once } from 'node:events';
import { messageOf } from '#blip/errors.js';
import * as ops from '#blip/torch/ops.js';
import { runThreads, startWorker } from './threads.js';

function work(): void {
  ops.reshape(ops.zeros([2]), [3]);
}

async function main(): Promise<void> {
  const [error]: unknown[] = await once(startWorker(import.meta.url), 'error');
  console.log(messageOf(error));
}

await runThreads(main, work);
