// Too little memory on a GPU ends a run with one sentence that says which setting needs less, wherever it runs out: when the
// model is placed there, in a forward pass, or in a backward pass, which runs on a thread of its own.
// Covers torch/operator, native/libtorch_errors.cc, commands/retrieval on a GPU.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { runCli } from '../helpers/run-cli.js';
import { noStandIn } from '../helpers/strict-cuda.js';
import { TinyRuns } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ device: 'cuda' });
before(() => tiny.write());

// A tiny model takes 20 MB in training; with 30 the first backward pass has too little, with 40 the optimizer.
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
    const setting = what === 'training' ? 'batch_size_train' : 'batch_size_test';
    assert.match(
      stderr,
      new RegExp(
        `^error: Memory is short: .*CUDA out of memory\\. Tried to allocate [^\\n]*is free\\. Lower ${setting}`,
        'm',
      ),
    );
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack');
  });
