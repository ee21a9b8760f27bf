// Linear layers: oneDNN's products for large weights, ATen's for small ones, and the same values and gradients from both.
// Covers native/linear.cc, torch/nn.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import { autocast, liveHandles, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';
import { runNode } from '../helpers/run-node.js';
import { assertClose } from '../helpers/tensors.js';

/** Inputs and outputs of layers that go through oneDNN (2^18 weights), and of one that does not. */
const sizes = [
  { name: 'large', inputs: 384, outputs: 768 },
  { name: 'odd', inputs: 385, outputs: 771 }, // no number that the transposed copy of a gradient could divide
  { name: 'small', inputs: 24, outputs: 40 },
];

const leaf = (shape: readonly number[]): Tensor => {
  const tensor = ops.randn(shape);
  tensor.requiresGrad = true;
  return tensor;
};

const float64 = (x: Tensor) => ops.to(x, { dtype: 'float64' });
const float32 = (x: Tensor) => ops.to(x, { dtype: 'float32' });

/** The same in float64 and out of other operators. */
const exact = (x: Tensor, weight: Tensor, bias: Tensor) =>
  float32(ops.add(ops.matmul(float64(x), ops.transpose(float64(weight), 0, 1)), float64(bias)));

for (const { name, inputs, outputs } of sizes) {
  for (const rows of [[7], [3, 5], [2, 3, 4], [5, 27]]) {
    test(`${name}, (${rows}, ${inputs}): values and all three gradients`, () => {
      const before = liveHandles();
      scope(() => {
        manualSeed(1);
        const [x, weight, bias] = [leaf([...rows, inputs]), leaf([outputs, inputs]), leaf([outputs])];
        const factor = ops.randn([...rows, outputs]); // another gradient for every output
        const gradients = (layer: typeof ops.linear) => {
          const out = layer(x, weight, bias);
          ops.sum(ops.mul(out, factor)).backward();
          const grads = [x, weight, bias].map((tensor) => ops.clone(tensor.grad as Tensor));
          for (const tensor of [x, weight, bias]) tensor.clearGrad();
          return [ops.detach(out), ...grads];
        };
        const [ours, expected] = [gradients(ops.linear), gradients(exact)];
        for (const [i, what] of ['output', 'of x', 'of weight', 'of bias'].entries())
          assertClose(ours[i] as Tensor, expected[i] as Tensor, 2e-4, what);
      });
      assert.equal(liveHandles(), before);
    });
  }

  test(`${name}: only what requires a gradient gets one`, () => {
    scope(() => {
      const [x, weight, bias] = [ops.randn([5, inputs]), ops.randn([outputs, inputs]), ops.randn([outputs])];
      weight.requiresGrad = true;
      ops.sum(ops.linear(x, weight, bias)).backward();
      assert.deepEqual(
        [x, weight, bias].map(({ grad }) => grad !== null),
        [false, true, false],
      );
      assert.equal(noGrad(() => ops.linear(x, weight, bias)).requiresGrad, false);
    });
  });

  test(`${name}: views, no rows at all, bfloat16, and sizes that do not fit`, () => {
    scope(() => {
      const [weight, bias] = [ops.randn([outputs, inputs]), ops.randn([outputs])];
      const wide = ops.randn([inputs, 6]);
      const view = ops.transpose(wide, 0, 1);
      assertClose(ops.linear(view, weight, bias), exact(view, weight, bias), 2e-4, 'of a transposed view');
      assert.deepEqual(ops.linear(ops.randn([0, inputs]), weight, bias).shape, [0, outputs]);
      const half = autocast('cpu', 'bfloat16', () => ops.linear(view, weight, bias));
      assert.equal(half.dtype, 'bfloat16');
      assert.throws(() => ops.linear(ops.randn([2, inputs + 1]), weight, bias), /shapes|size/);
    });
  });
}

test('equal rows give equal results, wherever they stand and however many there are', () => {
  // Equal captions must tie exactly: they are scored once, but in batches that differ from run to run.
  scope(() => {
    const [weight, bias, row] = [ops.randn([768, 768]), ops.randn([768]), ops.randn([1, 768])];
    const one = ops.linear(ops.cat([row, row, row, row]), weight, bias);
    assert.deepEqual(ops.slice(one, 0, 0, 1).bytes(), ops.slice(one, 0, 3, 4).bytes());
  });
});

for (const dtype of ['float32', 'bfloat16'] as const)
  test(`${dtype}: a packed weight gives the same, with GELU, a residual, and any number of rows`, () => {
    const before = liveHandles();
    manualSeed(4);
    scope(() => {
      const [inputs, outputs] = [384, 768];
      const weight = ops.to(ops.mul(ops.randn([outputs, inputs]), 0.05), { dtype });
      const bias = ops.to(ops.randn([outputs]), { dtype });
      const packed = ops.packLinear(weight);
      assert.deepEqual(packed.shape, [outputs, inputs]);
      const float = (x: Tensor) => ops.to(x, { dtype: 'float32' });
      const tolerance = dtype === 'float32' ? 2e-5 : 6e-2;
      for (const rows of [[1], [15], [577], [2, 7]]) {
        const x = ops.to(ops.randn([...rows, inputs]), { dtype });
        const residual = ops.to(ops.randn([...rows, outputs]), { dtype });
        const product = exact(float(x), float(weight), float(bias));
        const close = (out: Tensor, expected: Tensor, what: string) => {
          assert.equal(out.dtype, dtype);
          assertClose(float(out), expected, tolerance, `${what}, ${rows} rows`);
        };
        for (const w of [weight, packed]) {
          close(ops.linear(x, w, bias), product, 'plain');
          close(ops.linear(x, w, bias, { gelu: true }), ops.gelu(product), 'GELU');
          close(ops.linear(x, w, bias, { residual }), ops.add(product, float(residual)), 'residual');
        }
        const wide = float(residual);
        assertClose(
          float(ops.linear(x, packed, bias, { residual: wide })),
          ops.add(product, wide),
          tolerance,
          'a residual of another type',
        );
      }
      const none = ops.to(ops.randn([0, inputs]), { dtype });
      assert.deepEqual(ops.linear(none, packed, bias, { gelu: true }).shape, [0, outputs]);
      assert.throws(() => ops.linear(ops.randn([2, inputs + 1]), packed, bias), /shapes/);
      assert.throws(() => ops.linear(ops.randn([inputs]), packed, bias), /shapes/);
      assert.throws(() => packed.bytes(), /storage|strides|layout|data/); // only `linear` reads it
    });
    assert.equal(liveHandles(), before);
  });

test('a float32 row meets a packed bfloat16 weight as under autocast', () => {
  scope(() => {
    const [weight, bias] = [ops.randn([768, 384]), ops.randn([768])].map((x) => ops.to(x, { dtype: 'bfloat16' })) as [
      Tensor,
      Tensor,
    ];
    const x = ops.randn([9, 384]);
    const lowered = autocast('cpu', 'bfloat16', () => ops.linear(x, weight, bias));
    const packed = ops.linear(x, ops.packLinear(weight), bias);
    assert.equal(packed.dtype, 'bfloat16');
    const float = (y: Tensor) => ops.to(y, { dtype: 'float32' });
    assertClose(float(packed), float(lowered), 0.5, 'values'); // values up to 80: one step of bfloat16 is 0.5
  });
});

test('small weights, and those with gradients, are not packed: the tensor itself comes back', () => {
  scope(() => {
    const small = ops.randn([8, 8]);
    assert.deepEqual(ops.packLinear(small).bytes(), small.bytes());
    const leafWeight = leaf([768, 768]);
    assert.equal(ops.packLinear(leafWeight).requiresGrad, true);
  });
});

// Packed texts give products another number of rows at every step and image, and oneDNN a kernel for each.
test('kernels of many row counts do not fill the memory', async () => {
  const grown = async (kept: string) => {
    const { code, stdout, stderr } = await runNode(`
      ${kept}
      const [weight, bias] = [keep(ops.zeros([1024, 256])), keep(ops.zeros([1024]))];
      const product = (rows) => scope(() => void ops.linear(ops.zeros([rows, 256]), weight, bias));
      product(1000); // the largest first: what follows finds its place
      const before = process.memoryUsage().rss;
      for (let i = 0; i < 400; i++) product(10 + ((i * 149) % 400));
      console.log(process.memoryUsage().rss - before);`);
    assert.equal(code, 0, stderr);
    return Number(stdout);
  };
  const [ours, all] = [await grown(''), await grown("process.env.ONEDNN_PRIMITIVE_CACHE_CAPACITY = '1024';")];
  // Those that are let go are 272 kernels, 29 to 70 MB in all; most of that is left to chance.
  assert.ok(all - ours > 8 * 2 ** 20, `${ours} bytes, and ${all} when all are kept`);
});
