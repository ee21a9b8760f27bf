// The stand-in refuses what CUDA refuses, each by name, and what a GPU would do wrong without a word.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator, manualSeed } from '#blip/torch/generator.js';
import { native } from '#blip/torch/native.js';
import { operator, operatorInPlace, operatorOfFirst } from '#blip/torch/operator.js';
import * as ops from '#blip/torch/ops.js';
import { scope, type Tensor } from '#blip/torch/tensor.js';
import { runNode } from '../helpers/run-node.js';
import { noStandIn } from '../helpers/strict-cuda.js';

const skip = noStandIn;
const device = 'cuda:0';
const here = (x: Tensor) => ops.to(x, { device });

const flash = operatorOfFirst('aten::_flash_attention_forward');
const efficient = operatorOfFirst('aten::_efficient_attention_forward');
const int32 = (values: readonly number[], where: 'cpu' | typeof device = device) =>
  ops.to(ops.int64(values), { dtype: 'int32', device: where });
const half = (rows: number) => ops.zeros([rows, 2, 8], { device, dtype: 'bfloat16' });

const refusals: [what: string, work: () => unknown, message: RegExp][] = [
  [
    'an argument on the CPU',
    () => ops.indexSelect(ops.zeros([4, 2], { device }), 0, ops.int64([1])),
    /all tensors to be on the same device, but got index is on cpu, .* on cuda:0 \(when checking argument in method aten::index_select\)/,
  ],
  [
    'an argument on another device',
    () => ops.indexSelect(ops.zeros([4, 2], { device }), 0, ops.to(ops.int64([1]), { device: 'cuda:1' })),
    /got index is on cuda:1, different from other tensors on cuda:0 .*aten::index_select/,
  ],
  [
    'a number on the CPU where no operator with broadcasting takes it',
    () => ops.cat([ops.zeros([2], { device }), ops.zeros([2])]),
    /got tensors is on cpu, .*aten::cat/,
  ],
  [
    'a generator of the CPU',
    () => operator('aten::multinomial')(ops.full([1, 4], 1, { device }), 1, false, Generator.create(0)),
    /Expected a 'cuda' device type for generator but found 'cpu' \(in method aten::multinomial\)/,
  ],
  [
    'LayerNorm of two dtypes',
    () => ops.layerNorm(ops.zeros([2, 4], { device, dtype: 'bfloat16' }), ...norm(), 1e-5),
    /aten::native_layer_norm: expected scalar type BFloat16 but found Float for weight/,
  ],
  [
    'a matrix product of two dtypes',
    () => ops.matmul(ops.zeros([2, 2], { device, dtype: 'bfloat16' }), ops.zeros([2, 2], { device })),
    /dtype|scalar type/,
  ],
  [
    'boundaries that do not cover the tokens',
    () => flash(half(5), half(5), half(5), int32([0, 2, 4]), int32([0, 2, 5]), 3, 3, 0, false, false),
    /_flash_attention_forward: cu_seqlens_q run from 0 to 4, tokens are 5/,
  ],
  [
    'a max_seqlen that is too small',
    () => flash(half(5), half(5), half(5), int32([0, 2, 5]), int32([0, 2, 5]), 3, 2, 0, false, false),
    /_flash_attention_forward: max_seqlen_k 2 is less than the longest sequence, 3/,
  ],
  [
    'boundaries on the CPU',
    () => flash(half(5), half(5), half(5), int32([0, 5], 'cpu'), int32([0, 5]), 5, 5, 0, false, false),
    /_flash_attention_forward: cu_seqlens_q is on cpu, query on cuda:0/,
  ],
  [
    'FlashAttention in float32',
    () => {
      const x = ops.zeros([5, 2, 8], { device });
      flash(x, x, x, int32([0, 5]), int32([0, 5]), 5, 5, 0, false, false);
    },
    /only support fp16 and bf16/,
  ],
  [
    'a max_seqlen that is too small, in float32',
    () => {
      const x = ops.zeros([1, 5, 2, 8], { device });
      efficient(x, x, x, null, int32([0, 2, 5]), int32([0, 2, 5]), 2, 3, 0, 0, false);
    },
    /_efficient_attention_forward: max_seqlen_q 2 is less than the longest sequence, 3/,
  ],
  ['a device that is not there', () => ops.zeros([1], { device: 'cuda:9' }), /invalid device ordinal/],
  [
    'more memory than there is',
    () => ops.zeros([1 << 20, 1 << 20], { device }),
    /^Memory is short: aten::zeros: CUDA out of memory\. Tried to allocate 4096\.00 GiB\. GPU 0 .* is free\.$/,
  ],
];

function norm(): [Tensor, Tensor] {
  return [ops.full([4], 1, { device }), ops.zeros([4], { device })];
}

for (const [what, work, message] of refusals)
  test(`refuses ${what}`, { skip }, () => {
    assert.throws(() => scope(() => void work()), { message });
  });

test('a host that touches device memory is stopped, with a sentence', { skip }, async () => {
  const { signal, stderr } = await runNode(`
    import { operatorInPlace } from '#blip/torch/operator.js';
    const touch = operatorInPlace('strict::touch');
    touch(ops.zeros([4]));
    touch(ops.zeros([4], { device: 'cuda:0' }));`);
  assert.equal(signal, 'SIGSEGV');
  assert.match(stderr, /^strict: the host touched device memory, in:$/m);
});

test('takes a number on the CPU where CUDA does, and computes as the CPU', { skip }, () => {
  scope(() => {
    const x = ops.float32([1, 2, 3]);
    assert.deepEqual([...ops.mul(here(x), ops.full([], 2)).float32()], [2, 4, 6]);
    assert.deepEqual([...ops.softmax(here(x), 0).float32()], [...ops.softmax(x, 0).float32()]);
  });
});

test('draws from a generator of its own', { skip }, () => {
  scope(() => {
    manualSeed(3);
    const first = ops.randn([8], { device }).float32();
    ops.randn([8]);
    manualSeed(3);
    ops.randn([4]);
    assert.deepEqual(ops.randn([8], { device }).float32(), first);
  });
});

test('what was given back stays reserved, as with a caching allocator', { skip }, () => {
  const before = native().deviceMemory(0);
  const block = ops.zeros([1 << 24], { device });
  block.dispose();
  const after = native().deviceMemory(0);
  assert.equal(after.allocated, before.allocated);
  assert.ok(after.free < before.free || after.peakReserved > before.allocated);
});

test('operators in place write into the memory of the device', { skip }, () => {
  scope(() => {
    const x = ops.zeros([4], { device });
    operatorInPlace('aten::add_.Scalar')(ops.slice(x, 0, 1, 3), 5);
    assert.deepEqual([...x.float32()], [0, 5, 5, 0]);
  });
});
