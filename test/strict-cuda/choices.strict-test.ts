// What the program chooses by itself on a GPU: memory budgets, the packed attention, and settings of LibTorch.
// Covers evaluation/budgets, model/packed-attention, torch/load on a GPU.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { chooseBudgets } from '#blip/evaluation/budgets.js';
import {
  type AttentionOptions,
  attendByLength,
  attendVariableLength,
  chooseAttention,
  type PackedAttention,
} from '#blip/model/packed-attention.js';
import { packingOf } from '#blip/model/packed-texts.js';
import { Generator } from '#blip/torch/generator.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { scope } from '#blip/torch/tensor.js';
import { runNode, runNodeWith } from '../helpers/run-node.js';
import { noStandIn } from '../helpers/strict-cuda.js';
import { ruleTinyModel } from '../helpers/tensors.js';

const skip = noStandIn;
const device = 'cuda:0';
const GIB = 2 ** 30;

test('memory that the allocator holds unused counts as free', { skip }, () => {
  const model = ruleTinyModel({ device });
  const before = chooseBudgets(model);
  ops.empty([4 * GIB], { dtype: 'uint8', device }).dispose(); // as an epoch of training leaves it
  const { reserved, allocated } = native().deviceMemory(0);
  assert.ok(reserved - allocated >= 3 * GIB);
  assert.deepEqual(chooseBudgets(model), before);
  model.dispose();
});

test('fewer tokens go through the encoder at once where little memory is free', { skip }, () => {
  const model = ruleTinyModel({ device });
  const { free, reserved, allocated } = native().deviceMemory(0);
  const left = (bytes: number) =>
    scope(() => {
      ops.empty([free + reserved - allocated - bytes], { dtype: 'uint8', device });
      return chooseBudgets(model);
    });
  assert.equal(chooseBudgets(model).tokens, 65536);
  const [few, fewer] = [left(64 << 20), left(48 << 20)];
  const bytesOfToken = (2 * 128 + 6 * 64) * 4;
  assert.equal(few.tokens, Math.floor(((64 << 20) * 0.6 * 0.4) / bytesOfToken));
  assert.ok(fewer.tokens < few.tokens);
  assert.equal(left(1 << 20).tokens, 4096); // as few as on a CPU are the least
  const given = scope(() => {
    ops.empty([free + reserved - allocated - (64 << 20)], { dtype: 'uint8', device });
    return chooseBudgets(model, 48 << 20);
  });
  assert.ok(given.tokens < few.tokens); // what the user gives to features is not there for tokens
  model.dispose();
});

/** The attention chosen on eight tokens of three texts, and what was printed. */
function choose(options: AttentionOptions) {
  const lines: string[] = [];
  const attend = scope(() => {
    const generator = Generator.create(0);
    const sample = ops.to(ops.randn([8, 4, 16], { generator }), { device });
    generator.dispose();
    return chooseAttention(sample, packingOf([1, 3, 4], device), { print: (line) => lines.push(line), ...options });
  });
  return { attend, lines };
}

test('the variable-length kernels are taken, without a word and without a draw from the random numbers', {
  skip,
}, () => {
  const state = () => scope(() => Generator.default(device).state.bytes());
  const before = state();
  assert.deepEqual(choose({ gradients: true }), { attend: attendVariableLength, lines: [] });
  assert.deepEqual(state(), before);
});

test('a kernel that fails or gives other numbers is not taken, and a line says why', { skip }, () => {
  const fails: PackedAttention = () => {
    throw new Error('no kernel image is available');
  };
  const differs: PackedAttention = (q, ...rest) => ops.mul(attendByLength(q, ...rest), 2);
  const because = (why: string) =>
    `On cuda:0, attention over texts of different lengths in float32 ${why}; a slower way is taken.`;
  assert.deepEqual(choose({ fast: fails }), {
    attend: attendByLength,
    lines: [because('fails (no kernel image is available)')],
  });
  assert.deepEqual(choose({ fast: differs }), { attend: attendByLength, lines: [because('gives other numbers')] });
});

test('an error after which the GPU is of no use, and lack of memory, are not passed over', { skip }, () => {
  const addon = native();
  const { synchronize } = addon;
  const spoiled = new Error('CUDA error: an illegal memory access was encountered');
  const fast: PackedAttention = () => {
    throw spoiled;
  };
  addon.synchronize = () => {
    throw spoiled;
  };
  try {
    assert.throws(() => choose({ fast }), spoiled);
  } finally {
    Object.assign(addon, { synchronize });
  }
  const short: PackedAttention = () => ops.empty([2 ** 50], { dtype: 'uint8', device });
  assert.throws(() => choose({ fast: short }), UserError);
});

test('the line is printed once in a process', { skip }, async () => {
  const { stderr } = await runNode(`
    import { attendByLength, attentionFor } from '#blip/model/packed-attention.js';
    const fast = (q, ...rest) => ops.mul(attendByLength(q, ...rest), 2);
    for (let i = 0; i < 3; i++) attentionFor({ width: 64, heads: 4 }, 'cuda:0', 'float32', { fast });
  `);
  assert.equal(stderr.split('\\n').filter((line) => line.includes('a slower way')).length, 1, stderr);
});

test("segments of the allocator grow, and cuDNN's attention is off, unless the user says otherwise", {
  skip,
}, async () => {
  const code = `
    import * as ops from '#blip/torch/ops.js';
    import { countWork } from ${JSON.stringify(new URL('../helpers/strict-cuda.js', import.meta.url).href)};
    const q = ops.to(ops.randn([1, 1, 8, 16]), { device: 'cuda:0', dtype: 'bfloat16' });
    const { attentionShapes } = await countWork(() => void ops.attention(q, q, q));
    console.log(JSON.stringify([process.env.PYTORCH_ALLOC_CONF ?? null, attentionShapes]));
  `;
  const chosen = async (env: NodeJS.ProcessEnv) => {
    // This process has chosen as well, and its children would take that for the user's word.
    const { PYTORCH_ALLOC_CONF: _, ...own } = process.env;
    const args = ['--input-type=module', '-e', code];
    const { stdout, stderr } = await runNodeWith(args, { env: { ...own, ...env }, timeout: 120_000 });
    assert.ok(stdout.startsWith('['), stderr);
    return JSON.parse(stdout.slice(0, stdout.indexOf('\n')));
  };
  assert.deepEqual(await chosen({}), ['expandable_segments:True', 0]);
  assert.deepEqual(await chosen({ PYTORCH_ALLOC_CONF: '' }), ['', 0]);
  assert.deepEqual(await chosen({ PYTORCH_CUDA_ALLOC_CONF: 'max_split_size_mb:64' }), [null, 0]);
  assert.deepEqual((await chosen({ TORCH_CUDNN_SDPA_DEPRIORITIZED: '0' }))[1], 1);
});
