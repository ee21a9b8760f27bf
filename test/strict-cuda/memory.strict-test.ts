// Too little memory on a GPU ends a run with one sentence that says which setting needs less: before it starts where the
// estimate says so, else wherever it runs out: when the model is placed there, or in a pass.
// Covers torch/operator, native/libtorch_errors.cc, training's estimate, commands/retrieval on a GPU.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { runCli } from '../helpers/run-cli.js';
import { noStandIn } from '../helpers/strict-cuda.js';
import { TinyRuns } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ device: 'cuda' });
before(() => tiny.write());

for (const [what, megabytes] of [
  ['training', 12],
  ['training', 30],
  ['training', 40],
  ['evaluation', 12],
] as const)
  test(`${what} with ${megabytes} MB`, { skip: noStandIn }, async () => {
    const flags = what === 'training' ? [] : ['--evaluate'];
    const args = tiny.args(`${what}${megabytes}`, ...flags);
    const { code, signal, stderr } = await runCli(args, {
      OMP_NUM_THREADS: '1',
      STRICT_CUDA_MEMORY: String(megabytes * 1e6),
    });
    assert.deepEqual([code, signal], [1, null], stderr);
    const ranOut =
      /^error: Memory is short: .*CUDA out of memory\. Tried to allocate [^\n]*is free\. Lower batch_size_test/m;
    const foreseen =
      /^error: Training with batch_size_train 4 at image_size 96 needs more than 4\d\.\d MB of memory .*, and \d\d\.0 MB is available\. /m;
    assert.match(stderr, what === 'training' ? foreseen : ranOut);
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack');
  });
