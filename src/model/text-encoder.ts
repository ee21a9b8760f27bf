// BLIP's text encoder ("MED"): BERT whose layers may also attend to an image. Works on packed texts, see token-batch.ts.
// Shapes: n texts, T tokens, D width, H heads, d = D/H; S image tokens of width V.
import { LayerNorm, Linear, type StateDict, weight } from '../torch/nn.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { TextSizes } from './architecture.js';
import { attendByLength, type PackedAttention } from './packed-attention.js';
import type { Packing } from './token-batch.js';

/** Keys and values of one image for one layer's cross-attention: (1, H, S, d) each. */
export interface KeysValues {
  keys: Tensor;
  values: Tensor;
}

class Layer {
  readonly qkv: Linear; // (D → 3D): query, key and value of self-attention as one product
  readonly attentionDense: Linear;
  readonly attentionNorm: LayerNorm;
  readonly crossQuery: Linear;
  readonly crossDense: Linear;
  readonly crossNorm: LayerNorm;
  readonly intermediate: Linear;
  readonly output: Linear;
  readonly outputNorm: LayerNorm;

  constructor(
    state: StateDict,
    prefix: string,
    readonly sizes: TextSizes,
  ) {
    const self = `${prefix}.attention.self`;
    const cross = `${prefix}.crossattention`;
    this.qkv = Linear.beside(['query', 'key', 'value'].map((name) => Linear.of(state, `${self}.${name}`)));
    this.attentionDense = Linear.of(state, `${prefix}.attention.output.dense`);
    this.attentionNorm = LayerNorm.of(state, `${prefix}.attention.output.LayerNorm`, sizes.eps);
    this.crossQuery = Linear.of(state, `${cross}.self.query`);
    this.crossDense = Linear.of(state, `${cross}.output.dense`);
    this.crossNorm = LayerNorm.of(state, `${cross}.output.LayerNorm`, sizes.eps);
    this.intermediate = Linear.of(state, `${prefix}.intermediate.dense`);
    this.output = Linear.of(state, `${prefix}.output.dense`);
    this.outputNorm = LayerNorm.of(state, `${prefix}.output.LayerNorm`, sizes.eps);
  }

  #heads(x: Tensor): Tensor {
    return ops.reshape(x, [x.size(0), this.sizes.heads, -1]); // (rows, H, d)
  }

  /** x (T, D) → (T, D), or with `first` (n, D): only the first token of each text is computed. */
  selfAttention(x: Tensor, packing: Packing, attend: PackedAttention, first: boolean): Tensor {
    return scope(() => {
      const { width } = this.sizes;
      const [q, k, v] = ops.split(this.qkv.forward(x), [width, width, width], 1) as [Tensor, Tensor, Tensor];
      const pick = (t: Tensor) => (first ? ops.indexSelect(t, 0, packing.first) : t);
      const attended = attend(this.#heads(pick(q)), this.#heads(k), this.#heads(v), packing);
      const dense = this.attentionDense.forward(ops.reshape(attended, [-1, width]));
      return this.attentionNorm.forward(ops.add(dense, pick(x)));
    });
  }

  /** x (R, D) → (R, D): every row attends to all tokens of one image. */
  crossAttention(x: Tensor, { keys, values }: KeysValues): Tensor {
    return scope(() => {
      const { width } = this.sizes;
      const q = ops.transpose(this.#heads(this.crossQuery.forward(x)), 0, 1); // (H, R, d)
      const attended = ops.attention(ops.reshape(q, [1, ...q.shape]), keys, values); // (1, H, R, d)
      const rows = ops.reshape(ops.transpose(attended, 1, 2), [-1, width]);
      return this.crossNorm.forward(ops.add(this.crossDense.forward(rows), x));
    });
  }

  /** x (R, D) → (R, D) */
  feedForward(x: Tensor): Tensor {
    return scope(() =>
      this.outputNorm.forward(ops.add(this.output.forward(ops.gelu(this.intermediate.forward(x))), x)),
    );
  }
}

export class TextEncoder {
  readonly #words: Tensor; // (vocabulary, D)
  readonly #positions: Tensor; // (512, D)
  readonly #norm: LayerNorm;
  readonly #layers: Layer[];
  readonly #crossKeysValues: Linear; // (V → layers · 2D): keys and values of all layers as one product
  readonly #visionWidth: number;
  /** How packed texts attend to themselves; set once the device is known. */
  attend: PackedAttention = attendByLength;

  constructor(
    state: StateDict,
    readonly sizes: TextSizes,
    prefix = 'text_encoder',
  ) {
    this.#words = weight(state, `${prefix}.embeddings.word_embeddings.weight`);
    this.#positions = weight(state, `${prefix}.embeddings.position_embeddings.weight`);
    this.#norm = LayerNorm.of(state, `${prefix}.embeddings.LayerNorm`, sizes.eps);
    const names = Array.from({ length: sizes.depth }, (_, i) => `${prefix}.encoder.layer.${i}`);
    this.#layers = names.map((name) => new Layer(state, name, sizes));
    this.#crossKeysValues = Linear.beside(
      names.flatMap((name) => ['key', 'value'].map((part) => Linear.of(state, `${name}.crossattention.self.${part}`))),
    );
    this.#visionWidth = this.#crossKeysValues.weight.size(1);
  }

  #layer(i: number): Layer {
    return this.#layers[i] as Layer;
  }

  /** Token ids and positions within their texts, int32 (T) each → embeddings (T, D). */
  #embed(ids: Tensor, positions: Tensor): Tensor {
    return scope(() =>
      this.#norm.forward(ops.add(ops.embedding(this.#words, ids), ops.embedding(this.#positions, positions))),
    );
  }

  /**
   * The part of the multimodal encoder that does not see the image: embeddings and the self-attention of layer 0.
   * Once a text, whatever the number of its images. ids, positions: int32 (T) → (T, D).
   */
  stem(ids: Tensor, positions: Tensor, packing: Packing): Tensor {
    return scope(() =>
      this.#layer(0).selfAttention(this.#embed(ids, positions), packing, this.attend, this.#layers.length === 1),
    );
  }

  /** Image tokens (S, V) → keys and values for every layer, each (1, H, S, d). Once an image, whatever the number of texts. */
  imageKeysValues(imageEmbeds: Tensor): KeysValues[] {
    const { heads, width, depth } = this.sizes;
    if (imageEmbeds.size(-1) !== this.#visionWidth)
      throw new RangeError(`Expected image tokens of width ${this.#visionWidth} but received [${imageEmbeds.shape}]`);
    return scope(() => {
      const all = ops.reshape(this.#crossKeysValues.forward(imageEmbeds), [-1, depth, 2, heads, width / heads]); // (S, layers, 2, H, d)
      const split = ops.contiguous(ops.permute(all, [1, 2, 3, 0, 4])); // (layers, 2, H, S, d)
      return ops.unbind(split).map((layer) => {
        const [keys, values] = ops.unbind(ops.reshape(layer, [2, 1, heads, -1, width / heads])) as [Tensor, Tensor];
        return { keys, values };
      });
    });
  }

  /** Everything after layer 0's self-attention. x: `stem`'s (T, D) → hidden states (n, D) of first tokens, or (T, D) of all. */
  #rest(x: Tensor, packing: Packing, image: readonly KeysValues[] | undefined, all: boolean): Tensor {
    let hidden = x;
    const step = (next: Tensor) => {
      if (hidden !== x) hidden.dispose();
      hidden = next;
    };
    this.#layers.forEach((layer, i) => {
      const first = i === this.#layers.length - 1 && !all;
      if (i > 0) step(layer.selfAttention(hidden, packing, this.attend, first));
      const keysValues = image?.[i];
      if (keysValues !== undefined) step(layer.crossAttention(hidden, keysValues));
      step(layer.feedForward(hidden));
    });
    return hidden;
  }

  /** Multimodal mode: the texts' `stem` (T, D) against one image → hidden states of the texts' first tokens, (n, D). */
  forwardPairs(stem: Tensor, packing: Packing, image: readonly KeysValues[]): Tensor {
    return this.#rest(stem, packing, image, false);
  }

  /** Text mode: ids, positions int32 (T) → hidden states of the texts' first tokens, (n, D). */
  forwardTexts(ids: Tensor, positions: Tensor, packing: Packing): Tensor {
    return scope(() => this.#rest(this.stem(ids, positions, packing), packing, undefined, false));
  }

  /** Hidden states of every token, (T, D); with `image` in multimodal mode, else in text mode. */
  forwardAll(ids: Tensor, positions: Tensor, packing: Packing, image?: readonly KeysValues[]): Tensor {
    return scope(() => {
      if (this.#layers.length === 1)
        throw new RangeError('Expected a text encoder of two or more layers: the only layer gives first tokens alone');
      return this.#rest(this.stem(ids, positions, packing), packing, image, true);
    });
  }
}
