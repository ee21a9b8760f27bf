// Self-attention of packed texts: each token sees the tokens of its own text and no others.
// Shapes: n texts, T tokens, H heads, d = D/H. Queries are of all T tokens, or of the first token of each text.
import { operatorOfFirst } from '../torch/operator.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { Packing } from './token-batch.js';

/**
 * q (Q, H, d), k and v (T, H, d) → (Q, H, d), where Q is T, or n when there is one query a text. `dropout` is the rate at
 * which attention probabilities are dropped: 0 but in training.
 */
export type PackedAttention = (q: Tensor, k: Tensor, v: Tensor, packing: Packing, dropout: number) => Tensor;

/** One fused attention for each run of texts of equal length: on any device, in any precision. */
export const attendByLength: PackedAttention = (q, k, v, packing, dropout) => {
  const [heads, d] = [q.size(1), q.size(2)];
  const perText = q.size(0) === packing.texts && packing.tokens !== packing.texts;
  const sizes = packing.groups.map(({ count, length }) => count * length);
  const querySizes = perText ? packing.groups.map(({ count }) => count) : sizes;
  const queries = ops.split(q, querySizes);
  const keys = ops.split(k, sizes);
  const values = ops.split(v, sizes);
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
  return parts.length === 1 ? (parts[0] as Tensor) : ops.cat(parts);
};

const flash = operatorOfFirst('aten::_flash_attention_forward');
const efficient = operatorOfFirst('aten::_efficient_attention_forward');

/**
 * All texts in one kernel of variable lengths, CUDA only: FlashAttention for 16-bit types, else the memory-efficient
 * kernel, which takes float32 too. A few dozen launches a layer fewer than `attendByLength`.
 */
export const attendVariableLength: PackedAttention = (q, k, v, packing, dropout) => {
  const perText = q.size(0) === packing.texts && packing.tokens !== packing.texts;
  const boundaries = perText ? packing.counts : packing.boundaries;
  const longest = perText ? 1 : packing.longest;
  if (q.dtype === 'bfloat16' || q.dtype === 'float16')
    return flash(q, k, v, boundaries, packing.boundaries, longest, packing.longest, dropout, false, false);
  const one = (x: Tensor) => ops.reshape(x, [1, ...x.shape]);
  const out = efficient(
    one(q),
    one(k),
    one(v),
    null,
    boundaries,
    packing.boundaries,
    longest,
    packing.longest,
    dropout,
    0, // no causal mask
    true, // keep what a backward pass needs
  );
  return ops.reshape(out, [q.size(0), q.size(1), q.size(2)]);
};

/**
 * The packed attention to use on the device of `sample`, an (8, H, d) tensor of random numbers: the variable-length kernels on CUDA,
 * unless this LibTorch or GPU lacks them or they give another result than the plain way on the sample.
 */
export function chooseAttention(sample: Tensor, packing: Packing): PackedAttention {
  if (!sample.device.startsWith('cuda')) return attendByLength;
  try {
    return scope(() => {
      const plain = attendByLength(sample, sample, sample, packing, 0);
      const fast = attendVariableLength(sample, sample, sample, packing, 0);
      const difference = ops
        .maxAll(ops.abs(ops.sub(ops.to(plain, { dtype: 'float32' }), ops.to(fast, { dtype: 'float32' }))))
        .item();
      return difference < (sample.dtype === 'float32' ? 5e-3 : 5e-2) ? attendVariableLength : attendByLength;
    });
  } catch {
    return attendByLength; // the kernels are private to LibTorch and differ between its versions and GPUs
  }
}
