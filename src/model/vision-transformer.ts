// The vision transformer: an image as a sequence of patch tokens after a class token.
// Shapes: B images, P pixels a side, L = (P/16)² + 1 tokens, D width, H heads, d = D/H.
import { Generator } from '../torch/generator.js';
import { LayerNorm, Linear, type StateDict, weight } from '../torch/nn.js';
import * as ops from '../torch/ops.js';
import type { Precision } from '../torch/precision.js';
import { keep, scope, type Tensor } from '../torch/tensor.js';
import { VISION_EPS, type VisionSizes } from './architecture.js';

/** Stochastic depth (arXiv 1603.09382): whole samples of (B, L, D) zeroed at `rate`, the others divided by 1 - rate. */
function dropSamples(x: Tensor, rate: number): Tensor {
  const kept = ops.empty([x.size(0), 1, 1], { device: x.device });
  ops.bernoulliInPlace(kept, 1 - rate);
  return ops.mul(x, ops.div(kept, 1 - rate));
}

/** residual + layer(x), in one pass where no sample is dropped. */
function addTo(residual: Tensor, layer: Linear, x: Tensor, dropPath: number): Tensor {
  if (dropPath === 0) return layer.forward(x, { residual });
  return ops.add(residual, dropSamples(layer.forward(x), dropPath));
}

class Block {
  readonly norm1: LayerNorm;
  readonly qkv: Linear;
  readonly proj: Linear;
  readonly norm2: LayerNorm;
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(
    state: StateDict,
    prefix: string,
    readonly heads: number,
    frozen: boolean,
  ) {
    const linear = frozen ? Linear.frozen : Linear.of;
    this.norm1 = LayerNorm.of(state, `${prefix}.norm1`, VISION_EPS);
    this.qkv = linear(state, `${prefix}.attn.qkv`);
    this.proj = linear(state, `${prefix}.attn.proj`);
    this.norm2 = LayerNorm.of(state, `${prefix}.norm2`, VISION_EPS);
    this.fc1 = linear(state, `${prefix}.mlp.fc1`);
    this.fc2 = linear(state, `${prefix}.mlp.fc2`);
  }

  #attend(x: Tensor): Tensor {
    const [b, l, width] = [x.size(0), x.size(1), x.size(2)];
    const qkv = ops.reshape(this.qkv.forward(x), [b, l, 3, this.heads, width / this.heads]);
    const [q, k, v] = ops.unbind(ops.permute(qkv, [2, 0, 3, 1, 4])) as [Tensor, Tensor, Tensor]; // (B, H, L, d) each
    return ops.reshape(ops.transpose(ops.attention(q, k, v), 1, 2), [b, l, width]);
  }

  /** `forward` for the class token alone, (B, L, D) → (B, 1, D): the same random numbers are drawn. */
  forwardClass(x: Tensor, dropPath = 0): Tensor {
    return scope(() => {
      const [b, width] = [x.size(0), x.size(2)];
      const normed = this.norm1.forward(x);
      const classToken = (tokens: Tensor) => ops.slice(tokens, 1, 0, 1);
      const part = (tokens: Tensor, from: number, to: number) =>
        ops.linear(tokens, ops.slice(this.qkv.weight, 0, from, to), ops.slice(this.qkv.bias, 0, from, to));
      const heads = (y: Tensor, parts: number) =>
        ops.unbind(ops.permute(ops.reshape(y, [b, -1, parts, this.heads, width / this.heads]), [2, 0, 3, 1, 4]));
      const [q] = heads(part(classToken(normed), 0, width), 1) as [Tensor]; // (B, H, 1, d)
      const [k, v] = heads(part(normed, width, 3 * width), 2) as [Tensor, Tensor]; // (B, H, L, d)
      const seen = ops.reshape(ops.attention(q, k, v), [b, 1, width]); // of one token: no transposition
      const attended = addTo(ops.contiguous(classToken(x)), this.proj, seen, dropPath);
      const hidden = this.fc1.forward(this.norm2.forward(attended), { gelu: true });
      return addTo(attended, this.fc2, hidden, dropPath);
    });
  }

  /** (B, L, D) → (B, L, D). `dropPath` is the rate at which a sample skips attention or mlp; training only. */
  forward(x: Tensor, dropPath = 0): Tensor {
    return scope(() => {
      // What attention needs is freed before the feed-forward part takes as much.
      const attended = scope(() => addTo(x, this.proj, this.#attend(this.norm1.forward(x)), dropPath));
      const hidden = this.fc1.forward(this.norm2.forward(attended), { gelu: true });
      return addTo(attended, this.fc2, hidden, dropPath);
    });
  }
}

/** The least bytes that autograd keeps of one image in one block, from its forward pass to its backward pass. */
export function activationBytes({ imageSize, patchSize, width }: VisionSizes, precision: Precision): number {
  const tokens = (imageSize / patchSize) ** 2 + 1;
  // The inputs of the products (D, D, D, 4 D), queries, keys and values (3 D) and gelu's input (4 D), and in float32, under
  // autocast too, the residual stream twice.
  return tokens * width * (14 * (precision === 'bf16' ? 2 : 4) + 2 * 4);
}

export class VisionTransformer {
  readonly #classToken: Tensor; // (1, 1, D)
  readonly #positions: Tensor; // (1, L, D)
  readonly #patches: { weight: Tensor; bias: Tensor }; // (D, 3, 16, 16), (D)
  readonly #blocks: Block[];
  readonly #norm: LayerNorm;
  /** Whether blocks are skipped at random, as drop path asks. */
  training = false;

  /** `frozen`: for inference alone, with faster products; frees the weights of products in `state`. */
  constructor(
    state: StateDict,
    readonly sizes: VisionSizes,
    { prefix = 'visual_encoder', frozen = false }: { prefix?: string; frozen?: boolean } = {},
  ) {
    this.#classToken = weight(state, `${prefix}.cls_token`);
    this.#positions = weight(state, `${prefix}.pos_embed`);
    this.#patches = {
      weight: weight(state, `${prefix}.patch_embed.proj.weight`),
      bias: weight(state, `${prefix}.patch_embed.proj.bias`),
    };
    this.#blocks = Array.from(
      { length: sizes.depth },
      (_, i) => new Block(state, `${prefix}.blocks.${i}`, sizes.heads, frozen),
    );
    this.#norm = LayerNorm.of(state, `${prefix}.norm`, VISION_EPS);
  }

  /** Normalised images (B, 3, P, P) → tokens before the first block (B, L, D). */
  #tokens(images: Tensor): Tensor {
    const { width, patchSize } = this.sizes;
    const b = images.size(0);
    return scope(() => {
      const patches = ops.conv2d(images, this.#patches.weight, this.#patches.bias, [patchSize, patchSize]); // (B, D, P/16, P/16)
      const tokens = ops.transpose(ops.reshape(patches, [b, width, -1]), 1, 2);
      return ops.add(ops.cat([ops.expand(this.#classToken, [b, 1, width]), tokens], 1), this.#positions);
    });
  }

  /** Rate of block i: in equal steps from 0 to the last block's. */
  #dropPath(i: number): number {
    const { depth, dropPath } = this.sizes;
    return this.training && depth > 1 ? (dropPath * i) / (depth - 1) : 0;
  }

  /** x through blocks `from` to `to` - 1. Consumes x. */
  #run(x: Tensor, from: number, to: number): Tensor {
    let hidden = x;
    for (let i = from; i < to; i++) {
      const next = (this.#blocks[i] as Block).forward(hidden, this.#dropPath(i));
      hidden.dispose(); // the autograd graph, where there is one, keeps what it needs
      hidden = next;
    }
    return hidden;
  }

  /** Normalised images (B, 3, P, P) → image_embeds (B, L, D): all tokens, after the final norm. */
  forward(images: Tensor): Tensor {
    const x = this.#run(this.#tokens(images), 0, this.#blocks.length);
    const embeds = this.#norm.forward(x);
    x.dispose();
    return embeds;
  }

  /** Normalised images (B, 3, P, P) → the class token of `forward`, (B, 1, D). The last block computes nothing else. */
  forwardClass(images: Tensor): Tensor {
    const last = this.#blocks.length - 1;
    return scope(() => {
      const x = this.#run(this.#tokens(images), 0, last);
      return this.#norm.forward((this.#blocks[last] as Block).forwardClass(x, this.#dropPath(last)));
    });
  }

  /**
   * As `forward`, but the last `count` blocks keep no activations: `backward`, to be called once after the loss's backward,
   * computes them again block by block and carries the gradient on to the parameters.
   */
  forwardCheckpointed(images: Tensor, count: number): { embeds: Tensor; backward: () => void } {
    const depth = this.#blocks.length;
    const first = Math.max(0, depth - count);
    const head = keep(this.#run(this.#tokens(images), 0, first));
    const saved: { input: Tensor; random: Tensor }[] = [];
    const generator = Generator.default(images.device);
    let hidden = head;
    // With gradients, though nothing is kept: without, other kernels would run, which round differently than the second pass.
    for (let i = first; i < depth; i++) {
      const input = keep(ops.detach(hidden));
      input.requiresGrad = true;
      saved.push({ input, random: keep(generator.state) });
      hidden = scope(() => ops.detach((this.#blocks[i] as Block).forward(input, this.#dropPath(i))));
    }
    const leaf = keep(ops.detach(hidden));
    leaf.requiresGrad = true;
    const embeds = this.#norm.forward(leaf);
    const backward = () =>
      scope(() => {
        let gradient = leaf.grad;
        const after = generator.state;
        for (let i = depth - 1; i >= first && gradient !== null; i--) {
          const { input, random } = saved[i - first] as { input: Tensor; random: Tensor };
          const again = ops.detach(input);
          again.requiresGrad = true;
          generator.state = random; // the same samples are dropped
          ops.backward((this.#blocks[i] as Block).forward(again, this.#dropPath(i)), gradient);
          gradient = again.grad;
        }
        generator.state = after;
        if (gradient !== null) ops.backward(head, gradient);
        for (const tensor of [head, leaf, ...saved.flatMap(({ input, random }) => [input, random])]) tensor.dispose();
        generator.dispose();
      });
    return { embeds, backward };
  }
}
