// Two workers compute with a tensor that their parent disposes meanwhile: each call gives a result or the error that says so.
import { messageOf } from '#blip/errors.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles } from '#blip/torch/tensor.js';
import { resultOf, runThreads, send, startWorker } from './threads.js';

function work(handle: number): void {
  const abs = native().resolve('aten::abs', '').id;
  let done = 0;
  let refused = 0;
  let otherError = '';
  for (let i = 0; i < 20_000 && refused < 10; i++)
    try {
      native().dispose(native().invoke(abs, handle) as number);
      done++;
    } catch (error) {
      if (/disposed or never existed/.test(messageOf(error))) refused++;
      else otherError = messageOf(error);
    }
  send({ called: done > 0 || refused > 0, otherError });
}

async function main(): Promise<void> {
  const x = ops.zeros([1000]);
  const workers = [startWorker(import.meta.url, x.handle), startWorker(import.meta.url, x.handle)];
  setTimeout(() => x.dispose(), 30);
  console.log(JSON.stringify(await Promise.all(workers.map(resultOf))));
  console.log(liveHandles());
}

await runThreads(main, work);
