// A worker changes its parent's tensor, and makes another one, which outlives it: both go from thread to thread as handles.
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { Tensor } from '#blip/torch/tensor.js';
import { resultOf, runThreads, send, startWorker } from './threads.js';

function work(handle: number): void {
  const given = new Tensor(handle);
  ops.addInPlace(given, ops.float32([10]));
  send(native().alias(ops.mul(given, 2).handle));
}

async function main(): Promise<void> {
  const x = ops.float32([1, 2, 3]);
  // A handle has one owner, who frees it: the worker gets its own, as Node 22 may collect `given` before the thread ends.
  const forWorker = native().alias(x.handle);
  const made = new Tensor(await resultOf<number>(startWorker(import.meta.url, forWorker)));
  console.log(JSON.stringify([[...x.float32()], [...made.float32()]]));
  made.dispose();
  console.log(made.disposed);
}

await runThreads(main, work);
