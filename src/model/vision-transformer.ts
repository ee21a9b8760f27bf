// The vision transformer: an image as a sequence of patch tokens after a class token.
// Shapes: B images, P pixels a side, L = (P/16)² + 1 tokens, D width, H heads, d = D/H.
import { LayerNorm, Linear, type StateDict, weight } from '../torch/nn.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { VisionSizes } from './architecture.js';

const EPS = 1e-6;

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
  ) {
    this.norm1 = LayerNorm.of(state, `${prefix}.norm1`, EPS);
    this.qkv = Linear.of(state, `${prefix}.attn.qkv`);
    this.proj = Linear.of(state, `${prefix}.attn.proj`);
    this.norm2 = LayerNorm.of(state, `${prefix}.norm2`, EPS);
    this.fc1 = Linear.of(state, `${prefix}.mlp.fc1`);
    this.fc2 = Linear.of(state, `${prefix}.mlp.fc2`);
  }

  #attend(x: Tensor): Tensor {
    const [b, l, width] = [x.size(0), x.size(1), x.size(2)];
    const qkv = ops.reshape(this.qkv.forward(x), [b, l, 3, this.heads, width / this.heads]);
    const [q, k, v] = ops.unbind(ops.permute(qkv, [2, 0, 3, 1, 4])) as [Tensor, Tensor, Tensor]; // (B, H, L, d) each
    return ops.reshape(ops.transpose(ops.attention(q, k, v), 1, 2), [b, l, width]);
  }

  /** (B, L, D) → (B, L, D) */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const attended = ops.add(x, this.proj.forward(this.#attend(this.norm1.forward(x))));
      const hidden = ops.gelu(this.fc1.forward(this.norm2.forward(attended)));
      return ops.add(attended, this.fc2.forward(hidden));
    });
  }
}

export class VisionTransformer {
  readonly #classToken: Tensor; // (1, 1, D)
  readonly #positions: Tensor; // (1, L, D)
  readonly #patches: { weight: Tensor; bias: Tensor }; // (D, 3, 16, 16), (D)
  readonly #blocks: Block[];
  readonly #norm: LayerNorm;

  constructor(
    state: StateDict,
    readonly sizes: VisionSizes,
    prefix = 'visual_encoder',
  ) {
    this.#classToken = weight(state, `${prefix}.cls_token`);
    this.#positions = weight(state, `${prefix}.pos_embed`);
    this.#patches = {
      weight: weight(state, `${prefix}.patch_embed.proj.weight`),
      bias: weight(state, `${prefix}.patch_embed.proj.bias`),
    };
    this.#blocks = Array.from(
      { length: sizes.depth },
      (_, i) => new Block(state, `${prefix}.blocks.${i}`, sizes.heads),
    );
    this.#norm = LayerNorm.of(state, `${prefix}.norm`, EPS);
  }

  /** Normalised images (B, 3, P, P) → image_embeds (B, L, D): all tokens, after the final norm. */
  forward(images: Tensor): Tensor {
    const b = images.size(0);
    const { width, patchSize } = this.sizes;
    let x = scope(() => {
      const patches = ops.conv2d(images, this.#patches.weight, this.#patches.bias, [patchSize, patchSize]); // (B, D, P/16, P/16)
      const tokens = ops.transpose(ops.reshape(patches, [b, width, -1]), 1, 2);
      return ops.add(ops.cat([ops.expand(this.#classToken, [b, 1, width]), tokens], 1), this.#positions);
    });
    for (const block of this.#blocks) {
      const next = block.forward(x);
      x.dispose(); // the autograd graph, where there is one, keeps what it needs
      x = next;
    }
    const embeds = this.#norm.forward(x);
    x.dispose();
    return embeds;
  }
}
