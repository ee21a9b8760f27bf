// Worker threads: the addon in several at once, handles that change threads, threads that are ended in the middle of work.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runNode } from '../helpers/run-node.js';

/** What every worker below begins with. Its code is JavaScript that may use `ops`, `native`, `scope`, `port`, `data`. */
const WORKERS = `
  import { Worker } from 'node:worker_threads';
  import { once } from 'node:events';
  const prelude = \`
    import { parentPort as port, workerData as data } from 'node:worker_threads';
    import * as ops from '#blip/torch/ops.js';
    import { noGrad, scope, Tensor } from '#blip/torch/tensor.js';
    import { native as load } from '#blip/torch/native.js';
    const native = load();
  \`;
  // Node's own flags pass on: eval takes a module, as --input-type said.
  const start = (code, data) => new Worker(prelude + code, { eval: true, workerData: data });
  /** The worker's message, when it has ended. */
  const outcome = async (worker) => {
    const end = once(worker, 'exit');
    const [message] = await once(worker, 'message');
    await end;
    return message;
  };
  native.setThreads(1);
`;

async function expectOutput(code: string, expected: string): Promise<void> {
  const result = await runNode(WORKERS + code);
  assert.deepEqual([result.code, result.signal, result.stderr, result.stdout.trim()], [0, null, '', expected]);
}

test('four workers compute at once, each with its own modes', async () => {
  await expectOutput(
    `
    const work = \`
      const x = ops.full([64, 64], 1 / 64);
      let sum = 0;
      noGrad(() => {
        for (let i = 0; i < 500; i++) scope(() => { sum = ops.sum(ops.matmul(x, ops.full([64, 64], data + i))).item(); });
      });
      x.requiresGrad = true;
      const records = scope(() => ops.mul(x, 2).requiresGrad);
      x.dispose();
      port.postMessage([sum, records]);\`;
    const before = liveHandles();
    const workers = [1, 2, 3, 4].map((i) => start(work, i));
    const results = await Promise.all(workers.map(outcome));
    console.log(JSON.stringify(results.map(([sum]) => sum / 4096)), results.every(([, records]) => records), liveHandles() - before);`,
    '[500,501,502,503] true 0',
  );
});

test('a handle passed as a number is the same tensor in another thread, and outlives the thread that made it', async () => {
  await expectOutput(
    `
    const x = ops.float32([1, 2, 3]);
    const worker = start(\`
      const given = new Tensor(data);
      ops.addInPlace(given, ops.float32([10]));
      const handle = native.alias(ops.mul(given, 2).handle);
      port.postMessage(handle);\`, x.handle);
    const made = new Tensor(await outcome(worker));
    console.log(JSON.stringify([[...x.float32()], [...made.float32()]]));
    made.dispose();
    console.log(made.disposed);`,
    '[[11,12,13],[22,24,26]]\ntrue',
  );
});

test('a tensor disposed by one thread while others use it is an error there, or a result', async () => {
  await expectOutput(
    `
    const x = ops.zeros([1000]);
    const use = \`
      let refused = 0, done = 0, other = '';
      for (let i = 0; i < 20000 && refused < 10; i++)
        try { native.dispose(native.invoke(native.resolve('aten::abs', '').id, data)); done++; }
        catch (error) { if (/disposed or never existed/.test(error.message)) refused++; else other = error.message; }
      port.postMessage([done > 0 || refused > 0, other]);\`;
    const workers = [start(use, x.handle), start(use, x.handle)];
    setTimeout(() => x.dispose(), 30);
    console.log(JSON.stringify(await Promise.all(workers.map(outcome))), liveHandles());`,
    '[[true,""],[true,""]] 0',
  );
});

test('workers that are terminated in the middle of their work', async () => {
  await expectOutput(
    `
    const work = \`
      port.postMessage('started');
      const x = ops.zeros([100]);
      for (;;) {
        try { scope(() => { ops.split(ops.add(x, 1), [50, 50]); ops.sum(x).item(); x.shape; native.version(); }); } catch {}
        try { native.invoke(native.resolve('aten::abs', '').id, 1); } catch {}
        try { native.fromBytes(new Uint8Array(3), 6, [1]); } catch {}
        try { native.manualSeed(0.5); } catch {}
      }\`;
    let codes = '';
    for (let round = 0; round < 12; round++) {
      const workers = [start(work), start(work)];
      await Promise.all(workers.map((worker) => once(worker, 'message')));
      await new Promise((resolve) => setTimeout(resolve, round * 3));
      for (const worker of workers) codes += await worker.terminate();
    }
    console.log(codes, ops.add(ops.float32([1]), 1).item());`,
    `${'1'.repeat(24)} 2`,
  );
});

for (const [name, forever] of [
  ['is terminated', true],
  ['ends by itself', false],
] as const)
  test(`a worker that ${name} leaves nothing behind but what it made for other threads`, async () => {
    await expectOutput(
      `
      const worker = start(\`
        const [x, y] = [ops.zeros([100]), ops.full([3], 1)];
        const generator = native.createGenerator(1);
        scope(() => {
          for (let i = 0; i < 500; i++) ops.add(x, i);
          port.postMessage([native.alias(y.handle), x.handle, generator, native.liveHandles()]);
          if (data) for (;;) ops.add(x, 1).dispose();
        });\`, ${forever});
      const end = once(worker, 'exit');
      const [[shared, own, generator, during]] = await once(worker, 'message');
      if (${forever}) worker.terminate();
      await end;
      console.log(during, native.isLive(shared), native.isLive(own), native.isLive(generator), liveHandles());
      console.log(...new Tensor(shared).float32());`,
      '504 true false false 1\n1 1 1',
    );
  });

test('process.exit while workers compute', async () => {
  const work = 'const x = ops.zeros([200, 200]); port.postMessage(1); for (;;) scope(() => ops.matmul(x, x));';
  const { code, signal, stderr } = await runNode(`${WORKERS}
    const workers = [1, 2, 3].map(() => start(${JSON.stringify(work)}));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    process.exit(7);`);
  assert.deepEqual([code, signal, stderr], [7, null, '']);
});

test('an error that a worker does not catch reaches its parent as one', async () => {
  await expectOutput(
    `
    const worker = start("const x = ops.zeros([2]); ops.reshape(x, [3]);");
    const [error] = await once(worker, 'error');
    console.log(error.message);`,
    "aten::reshape: shape '[3]' is invalid for input of size 2",
  );
});
