// Self-attention of packed texts: each token sees the tokens of its own text and no others.
// Shapes: n texts, T tokens, H heads, d = D/H. Queries are of all T tokens, or of the first token of each text.
import { at, isMemoryShort, messageOf } from '../errors.js';
import { gpuIndex } from '../torch/cuda.js';
import { Generator } from '../torch/generator.js';
import { native } from '../torch/native.js';
import { operatorOfFirst } from '../torch/operator.js';
import * as ops from '../torch/ops.js';
import { type Device, noGrad, scope, type Tensor } from '../torch/tensor.js';
import { type Packing, packingOf } from './packed-texts.js';

/**
 * q (Q, H, d), k and v (T, H, d) → (Q, H, d), where Q is T, or n when there is one query a text. `dropout` is the rate at
 * which attention probabilities are dropped; training only.
 */
export type PackedAttention = (q: Tensor, k: Tensor, v: Tensor, packing: Packing, dropout: number) => Tensor;

/** One fused attention for each run of texts of equal length: on any device, in any precision. */
export const attendByLength: PackedAttention = (q, k, v, packing, dropout) => {
  const [heads, d] = [q.size(1), q.size(2)];
  const perText = q.size(0) === packing.texts && packing.tokens !== packing.texts;
  const sizes = packing.groups.map(({ count, length }) => count * length);
  const querySizes = perText ? packing.groups.map(({ count }) => count) : sizes;
  // A query is one text: three calls less a layer.
  const split = (x: Tensor, lengths: number[]) => (lengths.length === 1 ? [x] : ops.split(x, lengths));
  const queries = split(q, querySizes);
  const keys = split(k, sizes);
  const values = split(v, sizes);
  const parts = packing.groups.map(({ count, length }, g) => {
    const batched = (x: Tensor | undefined, l: number) =>
      ops.transpose(ops.reshape(x as Tensor, [count, l, heads, d]), 1, 2); // (count, H, l, d)
    const attended = ops.attention(
      batched(queries[g], perText ? 1 : length),
      batched(keys[g], length),
      batched(values[g], length),
      dropout,
    );
    return ops.reshape(ops.transpose(attended, 1, 2), [-1, heads, d]);
  });
  return parts.length === 1 ? at(parts, 0) : ops.cat(parts);
};

/** All texts in one kernel that this program brings (native/attention.cc): on the CPU, without gradients or dropout. */
export const attendOnCpu: PackedAttention = (q, k, v, packing) => {
  const perText = q.size(0) === packing.texts && packing.tokens !== packing.texts;
  return ops.attentionPacked(q, k, v, perText ? packing.cuSeqlensOfFirst : packing.cuSeqlens, packing.cuSeqlens);
};

const flash = operatorOfFirst('aten::_flash_attention_forward');
const efficient = operatorOfFirst('aten::_efficient_attention_forward');

/**
 * All texts in one kernel of variable lengths, CUDA only: FlashAttention for 16-bit types, else the memory-efficient
 * kernel, which takes float32 too. A few dozen launches a layer fewer than `attendByLength`.
 */
export const attendVariableLength: PackedAttention = (q, k, v, packing, dropout) => {
  const perText = q.size(0) === packing.texts && packing.tokens !== packing.texts;
  const cuSeqlensQ = perText ? packing.cuSeqlensOfFirst : packing.cuSeqlens;
  const maxSeqlenQ = perText ? 1 : packing.maxSeqlen;
  if (q.dtype === 'bfloat16' || q.dtype === 'float16')
    return flash(q, k, v, cuSeqlensQ, packing.cuSeqlens, maxSeqlenQ, packing.maxSeqlen, dropout, false, false);
  const one = (x: Tensor) => ops.reshape(x, [1, ...x.shape]);
  const out = efficient(
    one(q),
    one(k),
    one(v),
    null,
    cuSeqlensQ,
    packing.cuSeqlens,
    maxSeqlenQ,
    packing.maxSeqlen,
    dropout,
    0, // no causal mask
    true, // keep what a backward pass needs
  );
  return ops.reshape(out, [q.size(0), q.size(1), q.size(2)]);
};

/** What an attention gives for the sample as queries, keys and values: its result and, if wanted, the sample's gradient. */
function probe(attend: PackedAttention, sample: Tensor, packing: Packing, gradients: boolean): Tensor[] {
  if (!gradients) return [attend(sample, sample, sample, packing, 0)];
  const leaf = noGrad(() => ops.clone(sample));
  leaf.requiresGrad = true;
  const out = attend(leaf, leaf, leaf, packing, 0);
  // The sum of squares: its gradient, unlike that of a plain sum, differs from element to element.
  ops.sum(ops.to(ops.mul(out, out), { dtype: 'float32' })).backward();
  const { grad } = leaf;
  return grad === null ? [ops.detach(out)] : [ops.detach(out), grad];
}

/**
 * Whether two attentions give the same on `sample`, (T, H, d) random numbers, with queries of all tokens and no dropout;
 * with `gradients` their gradients too, and `fast` must take dropout without an error.
 */
export function attentionsAgree(
  fast: PackedAttention,
  plain: PackedAttention,
  sample: Tensor,
  packing: Packing,
  gradients: boolean,
): boolean {
  const tolerance = sample.dtype === 'float32' ? 5e-3 : 5e-2;
  return scope(() => {
    const [a, b] = [fast, plain].map((attend) => probe(attend, sample, packing, gradients));
    if (a === undefined || b === undefined || a.length !== b.length) return false;
    if (gradients) fast(sample, sample, sample, packing, 0.1);
    const float = (x: Tensor) => ops.to(x, { dtype: 'float32' });
    return a.every((x, i) => {
      const y = at(b, i);
      // Gradients are of the size of what they are summed from, so the difference is measured against the largest.
      const size = Math.max(1, ops.maxAll(ops.abs(float(y))).item());
      return ops.maxAll(ops.abs(ops.sub(float(x), float(y)))).item() < tolerance * size;
    });
  });
}

const said = new Set<string>();
/** Prints a line on stderr, the first time in this process. */
function sayOnce(line: string): void {
  if (!said.has(line)) process.stderr.write(`${line}\n`);
  said.add(line);
}

/**
 * The packed attention to use on the device of `sample`, a (T, H, d) tensor of random numbers, T the tokens of `packing`:
 * the variable-length kernels on CUDA, unless this LibTorch or GPU lacks them or they give another result than the plain
 * way on the sample; `print` gets one line that says so. `gradients`: it is to be trained through. The device's random
 * state is left as it was. @throws what made the GPU unusable, or that memory is short
 */
export function chooseAttention(
  sample: Tensor,
  packing: Packing,
  { gradients = false, fast = attendVariableLength, print = sayOnce }: AttentionOptions = {},
): PackedAttention {
  const { device, dtype } = sample;
  const gpu = gpuIndex(device);
  if (gpu === undefined) return gradients ? attendByLength : attendOnCpu;
  const generator = Generator.default(device);
  const before = generator.state;
  let problem: string;
  try {
    if (attentionsAgree(fast, attendByLength, sample, packing, gradients)) return fast;
    problem = 'gives other numbers';
  } catch (error) {
    // The kernels are private to LibTorch and differ between its versions and GPUs. After a fault inside one nothing works
    // on the GPU any more, and waiting for it throws.
    if (isMemoryShort(error)) throw error;
    native().synchronize(gpu);
    problem = `fails (${messageOf(error)})`;
  } finally {
    generator.state = before;
    generator.dispose();
    before.dispose();
  }
  print(`On ${device}, attention over texts of different lengths in ${dtype} ${problem}; a slower way is taken.`);
  return attendByLength;
}

/** How to choose: for training or not, and for tests, between what and who is told. */
export interface AttentionOptions {
  gradients?: boolean;
  fast?: PackedAttention;
  print?(line: string): void;
}

/** The choice for a model's heads, on numbers that change no run's random state. `dtype` is what attention will be given. */
export function attentionFor(
  { width, heads }: { width: number; heads: number },
  device: Device,
  dtype: 'float32' | 'bfloat16',
  options: AttentionOptions = {},
): PackedAttention {
  return scope(() => {
    const generator = Generator.create(0);
    const drawn = ops.randn([8, heads, width / heads], { generator });
    generator.dispose();
    return chooseAttention(ops.to(drawn, { device, dtype }), packingOf([1, 3, 4], device), options);
  });
}
