// Workers are terminated at different moments of their work, right and wrong calls of the addon; the process stays sound.
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { scope } from '#blip/torch/tensor.js';
import { messageOf, runThreads, send, startWorker } from './threads.js';

function ignoreErrors(call: () => unknown): void {
  try {
    call();
  } catch {
    // It is the state that wrong calls leave behind that counts.
  }
}

function work(): void {
  const addon = native();
  const x = ops.zeros([100]);
  send('started');
  for (;;) {
    ignoreErrors(() =>
      scope(() => {
        ops.split(ops.add(x, 1), [50, 50]);
        ops.sum(x).item();
        return [x.shape, addon.version()];
      }),
    );
    ignoreErrors(() => addon.invoke(addon.resolve('aten::abs', '').id, 1));
    ignoreErrors(() => addon.writeBytes(x.handle, new Uint8Array(3)));
    ignoreErrors(() => addon.manualSeed(0.5));
  }
}

async function main(): Promise<void> {
  const codes: number[] = [];
  for (let round = 0; round < 12; round++) {
    const workers = [startWorker(import.meta.url), startWorker(import.meta.url)];
    await Promise.all(workers.map(messageOf));
    await sleep(round * 3);
    for (const worker of workers) codes.push(await worker.terminate());
  }
  console.log(codes.join(''));
  console.log(ops.add(ops.float32([1]), 1).item());
}

await runThreads(main, work);
