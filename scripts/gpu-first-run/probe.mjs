// What only a GPU can tell, in seconds: loading, memory, the attention that is chosen, what a new shape of attention costs,
// whether an upload waits, TF32, launches, arithmetic, random state, an out-of-memory error, the exit.
// Prints one line of JSON a figure: { name, value, unit, expected, ok, key } or { name, error }; ends with 3 where there is no GPU.

import { imagesFromBytes } from '../../dist/model/normalize-images.js';
import { attendVariableLength, attentionFor } from '../../dist/model/packed-attention.js';
import { packTexts } from '../../dist/model/packed-texts.js';
import { cudaState } from '../../dist/torch/cuda.js';
import { Generator, manualSeed } from '../../dist/torch/generator.js';
import { native } from '../../dist/torch/native.js';
import * as ops from '../../dist/torch/ops.js';
import { scope } from '../../dist/torch/tensor.js';

const small = process.argv.includes('--small');
const device = 'cuda:0';
const say = (figure) => console.log(JSON.stringify(figure));

/** `f` returns a value, or [value, whether it is as expected]. */
function step(name, { unit, expected, key } = {}, f) {
  try {
    const [value, ok] = [scope(f)].flat();
    say({ name, value: value ?? 'ok', unit, expected, ok, key });
  } catch (error) {
    say({ name, error: `${error.message}`.split('\n')[0].slice(0, 300) });
  }
}

const sync = () => native().synchronize(0);
/** Milliseconds of `f` until the GPU has done it, after one run that does not count. */
function ms(f, times = 1) {
  scope(f);
  sync();
  const start = performance.now();
  for (let i = 0; i < times; i++) scope(f);
  sync();
  return (performance.now() - start) / times;
}

step('load', {}, () => JSON.stringify(native().version()));
const cuda = cudaState();
say({ name: 'GPUs', value: cuda.count, expected: 'at least 1', ok: cuda.count > 0 });
if (cuda.count === 0) {
  console.error(`No GPU: ${cuda.problem}.`);
  process.exit(3);
}
native().setDevice(0);
step('memory, GiB free of all', {}, () => {
  const { free, total } = native().deviceMemory(0);
  return `${(free / 2 ** 30).toFixed(1)} of ${(total / 2 ** 30).toFixed(1)}`;
});

// Before anything calls setTf32: ten bits of mantissa make an error of about 1e-2 here, float32 one of 1e-5.
step('fp32 convolution off by', { expected: '< 1e-3, else finding 5' }, () => {
  const given = [ops.randn([8, 3, 96, 96]), ops.randn([64, 3, 16, 16]), ops.zeros([64])];
  const on = (where) => ops.conv2d(...given.map((t) => ops.to(t, { device: where })), [16, 16]);
  const difference = ops.maxAll(ops.abs(ops.sub(ops.to(on(device), { device: 'cpu' }), on('cpu')))).item();
  return [difference, difference < 1e-3];
});
native().setTf32(false);

for (const dtype of ['float32', 'bfloat16'])
  for (const gradients of [false, true])
    step(`variable-length attention, ${dtype}${gradients ? ', training' : ''}`, { expected: 'true' }, () => {
      const isChosen = attentionFor({ width: 768, heads: 12 }, device, dtype, { gradients }) === attendVariableLength;
      return [isChosen, isChosen];
    });

// Re-ranking's cross-attention has another number of queries for nearly every image.
const crossAttention = (rows, dtype) => {
  const q = ops.randn([1, 12, rows, 64], { device, dtype });
  const kv = ops.randn([1, 12, 577, 64], { device, dtype });
  sync();
  const start = performance.now();
  ops.attention(q, kv, kv);
  sync();
  return performance.now() - start;
};
for (const [dtype, word] of [
  ['bfloat16', 'bf16'],
  ['float32', 'fp32'],
]) {
  step(`attention ${word}, a shape seen before`, { unit: 'ms' }, () => {
    scope(() => crossAttention(1000, dtype));
    return Math.min(...[0, 1, 2].map(() => scope(() => crossAttention(1000, dtype))));
  });
  step(
    `attention ${word}, a new shape`,
    { unit: 'ms', expected: '< 5, else finding 1', key: dtype === 'bfloat16' },
    () => {
      const worst = Math.max(...[1001, 1002, 1003].map((rows) => scope(() => crossAttention(rows, dtype))));
      return [worst, worst < 5];
    },
  );
}

// Uploads of the program's own, while the GPU has work: the host must not wait until that is done.
const busy = small ? 256 : 8192;
const rows = Array.from({ length: 256 }, (_, row) => new Int32Array(8 + (row >> 5)).fill(2000));
const batch = small ? 1 : 32;
const pixels = new Uint8Array(batch * 384 * 384 * 3);
step('work that is queued before an upload', { unit: 'µs', key: true }, () => {
  const a = ops.randn([busy, busy], { device });
  return 1000 * ms(() => ops.matmul(a, a));
});
for (const [name, upload] of [
  ['texts', () => packTexts(rows, device)],
  ['pixels', () => imagesFromBytes(pixels, batch, 384, device)],
])
  step(
    `host time of an upload of ${name} meanwhile`,
    { unit: 'µs', expected: 'far below the work, else finding 2', key: true },
    () => {
      const a = ops.randn([busy, busy], { device });
      const work = ms(() => ops.matmul(a, a));
      const tries = [0, 1, 2, 3].map(() => {
        scope(() => ops.matmul(a, a));
        const start = performance.now();
        scope(upload);
        const took = performance.now() - start;
        sync();
        return took;
      });
      const best = Math.min(...tries);
      return [1000 * best, best < work / 2];
    },
  );

step('a small operator', { unit: 'µs', expected: '< 20, the launch rate' }, () => {
  const x = ops.zeros([64], { device });
  const one = ms(() => {
    for (let i = 0; i < 1000; i++) scope(() => ops.add(x, 1));
  });
  return [one, one < 20];
});
const size = small ? 256 : 8192;
const rates = {};
for (const [name, tf32, dtype] of [
  ['fp32', false, 'float32'],
  ['tf32', true, 'float32'],
  ['bf16', false, 'bfloat16'],
])
  step(`product of ${size}², ${name}`, { unit: 'TFLOP/s', ...(tf32 && { expected: 'twice fp32' }) }, () => {
    native().setTf32(tf32);
    const a = ops.randn([size, size], { device, dtype });
    rates[name] = (2 * size ** 3) / ms(() => ops.matmul(a, a), 5) / 1e9;
    return tf32 ? [rates[name], rates[name] > 2 * rates.fp32] : rates[name];
  });
native().setTf32(false);
step('random state put back gives the same numbers', { expected: 'true' }, () => {
  manualSeed(1);
  const generator = Generator.default(device);
  const before = generator.state;
  const draw = () => ops.randn([8], { device }).float32().join();
  const first = draw();
  generator.state = before;
  const isSame = first === draw();
  return [isSame, isSame];
});
step('memory that is not there', { expected: 'a sentence about memory' }, () => {
  try {
    ops.zeros([1 << 30, 1 << 12], { device });
    return ['NO ERROR', false];
  } catch (error) {
    const [line] = `${error.message}`.split('\n');
    return [line.slice(0, 90), /memory/i.test(line) && !/defect/.test(line)];
  }
});
globalThis.left = ops.zeros([4], { device }); // the process ends with a live tensor, and must end with 0
