// The command line on a GPU: an evaluation has the recalls of the CPU, and a resumed training goes on as one that was not
// stopped (closely: kernels of a GPU may sum in another order).
// Covers commands, training/checkpoint and resume on a GPU.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { cudaState } from '#blip/torch/cuda.js';
import { noStandIn } from '../helpers/strict-cuda.js';
import { TinyRuns } from '../helpers/tiny-run.js';

const { count, problem } = cudaState();
const skip = count > 0 ? false : `no GPU: ${problem}`;
const tiny = new TinyRuns({ device: 'cuda' });
before(() => tiny.write());

type Line = Record<string, string | number>;
const jsonLines = (output: string, file: string): Line[] =>
  tiny
    .read(output, file)
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

test('an evaluation on a GPU has the recalls of one on the CPU', { skip }, async () => {
  const [onGpu, onCpu] = ['gpu', 'cpu'];
  for (const [output, ...flags] of [[onGpu], [onCpu, '--device', 'cpu']] as const) {
    const { code, stderr } = await tiny.run(output, '--evaluate', ...flags);
    assert.equal(code, 0, stderr);
  }
  const [gpu, cpu] = [onGpu, onCpu].map((output) => jsonLines(output, 'evaluate.txt')[0]);
  // Ten images and fifty captions: one image or caption may stand on the edge.
  for (const [key, value] of Object.entries(cpu ?? {}))
    assert.ok(Math.abs(Number(gpu?.[key]) - Number(value)) <= 10, `${key} is ${gpu?.[key]} instead of ${value}`);
});

for (const precision of ['fp32', 'bf16']) {
  // The stand-in computes as the CPU: test/cli/train compares its resumed run in fp32 to the bit.
  const same = !noStandIn && precision === 'fp32' && 'on the stand-in test/cli/train has it';
  test(`a training in ${precision} that was stopped and resumed ends as one that was not`, {
    skip: skip || same,
  }, async () => {
    const flags = ['--precision', precision];
    const whole = await tiny.run(`whole-${precision}`, ...flags);
    assert.equal(whole.code, 0, whole.stderr);
    const stopped = await tiny.run(`parts-${precision}`, ...flags, '--max_steps', '7');
    assert.equal(stopped.code, 0, stopped.stderr);
    const resumed = await tiny.run(`parts-${precision}`, ...flags, '--resume', 'latest');
    assert.equal(resumed.code, 0, resumed.stderr);
    const [expected, actual] = [`whole-${precision}`, `parts-${precision}`].map((run) => jsonLines(run, 'log.txt'));
    assert.equal(actual?.length, 2);
    for (const [epoch, line] of expected?.entries() ?? [])
      for (const key of ['train_lr', 'train_loss_itm', 'train_loss_ita'])
        assert.ok(
          Math.abs(Number(line[key]) - Number(actual?.[epoch]?.[key])) < 0.02,
          `epoch ${epoch}: ${key} is ${actual?.[epoch]?.[key]} instead of ${line[key]}`,
        );
  });
}
