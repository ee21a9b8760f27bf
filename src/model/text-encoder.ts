// BLIP's text encoder ("MED"): BERT whose layers may also attend to an image. Works on packed texts, see packed-texts.ts.
// Shapes: n texts, T tokens, D width, H heads, d = D/H; I images of L tokens of width V.
import { at } from '../errors.js';
import { LayerNorm, Linear, type StateDict, weight } from '../torch/nn.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { TextSizes } from './architecture.js';
import { attendByLength, type PackedAttention } from './packed-attention.js';
import type { PackedTexts, Packing } from './packed-texts.js';

/** Keys and values of I images for one layer's cross-attention: (I, H, L, d) each. */
export interface KeysValues {
  keys: Tensor;
  values: Tensor;
}

/**
 * Which image each row attends to, where there are several: rows are laid out as I equal blocks of the most rows any
 * image has. `spread` (I · most) int32 is the row at each place of the blocks (any row where there is none), `gather` (R)
 * int32 the place of each row. Undefined for one image: all rows belong to it.
 */
export interface RowsByImage {
  spread: Tensor;
  gather: Tensor;
}

/** What differs between evaluation and training. */
export interface TextMode {
  /** How packed texts attend to themselves. */
  attend: PackedAttention;
  /** Rates, 0 in evaluation. */
  hiddenDropout: number;
  attentionDropout: number;
}

/** residual + dropout(layer(x)), in one pass where nothing is dropped. */
function addTo(residual: Tensor, layer: Linear, x: Tensor, dropout: number): Tensor {
  if (dropout === 0) return layer.forward(x, { residual });
  return ops.add(ops.dropout(layer.forward(x), dropout), residual);
}

/** Query, key and value of self-attention, (D → D) each: as one product, or apart where gradients are wanted. */
class QueryKeyValue {
  readonly #layers: readonly Linear[];

  constructor(state: StateDict, prefix: string, frozen: boolean) {
    const names = ['query', 'key', 'value'].map((name) => `${prefix}.${name}`);
    this.#layers = frozen ? [Linear.frozen(state, ...names)] : names.map((name) => Linear.of(state, name));
  }

  /** x (T, D) → q, k, v (T, D) */
  forward(x: Tensor): [q: Tensor, k: Tensor, v: Tensor] {
    const width = x.size(1);
    const out = this.#layers.map((layer) => layer.forward(x));
    const [all] = out;
    return (out.length === 1 && all ? ops.split(all, [width, width, width], 1) : out) as [Tensor, Tensor, Tensor];
  }
}

class Layer {
  readonly qkv: QueryKeyValue;
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
    frozen: boolean,
  ) {
    const cross = `${prefix}.crossattention`;
    const linear = frozen ? Linear.frozen : Linear.of;
    this.qkv = new QueryKeyValue(state, `${prefix}.attention.self`, frozen);
    this.attentionDense = linear(state, `${prefix}.attention.output.dense`);
    this.attentionNorm = LayerNorm.of(state, `${prefix}.attention.output.LayerNorm`, sizes.eps);
    this.crossQuery = linear(state, `${cross}.self.query`);
    this.crossDense = linear(state, `${cross}.output.dense`);
    this.crossNorm = LayerNorm.of(state, `${cross}.output.LayerNorm`, sizes.eps);
    this.intermediate = linear(state, `${prefix}.intermediate.dense`);
    this.output = linear(state, `${prefix}.output.dense`);
    this.outputNorm = LayerNorm.of(state, `${prefix}.output.LayerNorm`, sizes.eps);
  }

  #heads(x: Tensor): Tensor {
    return ops.reshape(x, [x.size(0), this.sizes.heads, -1]); // (rows, H, d)
  }

  /** x (T, D) → (T, D), or with `first` (n, D): only the first token of each text is computed. */
  selfAttention(x: Tensor, packing: Packing, mode: TextMode, first: boolean): Tensor {
    return scope(() => {
      const [q, k, v] = this.qkv.forward(x);
      const pick = (t: Tensor) => (first ? ops.indexSelect(t, 0, packing.first) : t);
      const { attend, attentionDropout, hiddenDropout } = mode;
      const attended = attend(this.#heads(pick(q)), this.#heads(k), this.#heads(v), packing, attentionDropout);
      const flat = ops.reshape(attended, [-1, this.sizes.width]);
      return this.attentionNorm.forward(addTo(pick(x), this.attentionDense, flat, hiddenDropout));
    });
  }

  /** x (R, D) → (R, D): every row attends to all tokens of its image. */
  crossAttention(x: Tensor, { keys, values }: KeysValues, rows: RowsByImage | undefined, mode: TextMode): Tensor {
    return scope(() => {
      const { width, heads } = this.sizes;
      const images = keys.size(0);
      const query = this.crossQuery.forward(x);
      const placed = rows ? ops.indexSelect(query, 0, rows.spread) : query;
      const q = ops.transpose(ops.reshape(placed, [images, -1, heads, width / heads]), 1, 2); // (I, H, most, d)
      const attended = ops.attention(q, keys, values, mode.attentionDropout); // (I, H, most, d)
      const flat = ops.reshape(ops.transpose(attended, 1, 2), [-1, width]);
      const gathered = rows ? ops.indexSelect(flat, 0, rows.gather) : flat;
      return this.crossNorm.forward(addTo(x, this.crossDense, gathered, mode.hiddenDropout));
    });
  }

  /** x (R, D) → (R, D) */
  feedForward(x: Tensor, mode: TextMode): Tensor {
    return scope(() => {
      const hidden = this.intermediate.forward(x, { gelu: true });
      return this.outputNorm.forward(addTo(x, this.output, hidden, mode.hiddenDropout));
    });
  }
}

/** The keys and values of all layers' cross-attention: as one product, or apart where gradients are wanted. */
class CrossKeysValues {
  readonly #layers: readonly Linear[]; // one (V → layers · 2D), or 2 · layers of (V → D)
  readonly #sizes: TextSizes;
  readonly inputs: number; // V

  constructor(state: StateDict, prefix: string, sizes: TextSizes, frozen: boolean) {
    const names = Array.from(
      { length: sizes.depth },
      (_, i) => `${prefix}.encoder.layer.${i}.crossattention.self`,
    ).flatMap((name) => [`${name}.key`, `${name}.value`]);
    this.#sizes = sizes;
    this.#layers = frozen ? [Linear.frozen(state, ...names)] : names.map((name) => Linear.of(state, name));
    this.inputs = at(this.#layers, 0).weight.size(1);
  }

  /** Image tokens (I, L, V) → for every layer keys and values (I, H, L, d). */
  forward(embeds: Tensor): KeysValues[] {
    const { heads, width, depth } = this.#sizes;
    const [images, tokens, d] = [embeds.size(0), embeds.size(1), width / heads];
    const [fused, ...others] = this.#layers;
    let parts: Tensor[];
    if (fused !== undefined && others.length === 0 && depth > 0) {
      const all = ops.reshape(fused.forward(embeds), [images, tokens, 2 * depth, heads, d]);
      parts = ops.unbind(ops.contiguous(ops.permute(all, [2, 0, 3, 1, 4])));
    } else {
      const byHead = (x: Tensor) => ops.transpose(ops.reshape(x, [images, tokens, heads, d]), 1, 2);
      parts = this.#layers.map((layer) => byHead(layer.forward(embeds)));
    }
    return Array.from({ length: depth }, (_, i) => ({
      keys: at(parts, 2 * i),
      values: at(parts, 2 * i + 1),
    }));
  }
}

export class TextEncoder {
  readonly #words: Tensor; // (vocabulary, D)
  readonly #positions: Tensor; // (512, D)
  readonly #norm: LayerNorm;
  readonly #layers: Layer[];
  readonly #crossKeysValues: CrossKeysValues;
  /** Evaluation, attending by length, until set otherwise. */
  mode: TextMode = { attend: attendByLength, hiddenDropout: 0, attentionDropout: 0 };

  /** `frozen`: for inference alone, with fewer and faster products; frees the weights of products in `state`. */
  constructor(
    state: StateDict,
    readonly sizes: TextSizes,
    { prefix = 'text_encoder', frozen = false }: { prefix?: string; frozen?: boolean } = {},
  ) {
    this.#words = weight(state, `${prefix}.embeddings.word_embeddings.weight`);
    this.#positions = weight(state, `${prefix}.embeddings.position_embeddings.weight`);
    this.#norm = LayerNorm.of(state, `${prefix}.embeddings.LayerNorm`, sizes.eps);
    this.#layers = Array.from(
      { length: sizes.depth },
      (_, i) => new Layer(state, `${prefix}.encoder.layer.${i}`, sizes, frozen),
    );
    this.#crossKeysValues = new CrossKeysValues(state, prefix, sizes, frozen);
  }

  /** Embeddings (T, D) of tokens and their positions. */
  #embed({ ids, positions }: PackedTexts): Tensor {
    return scope(() => {
      const sum = ops.add(ops.embedding(this.#words, ids), ops.embedding(this.#positions, positions));
      return ops.dropout(this.#norm.forward(sum), this.mode.hiddenDropout);
    });
  }

  /**
   * The image-independent prefix of the multimodal encoder: embeddings and layer 0's self-attention, (T, D). Computed once
   * a text, whatever the number of its images.
   */
  stem(texts: PackedTexts): Tensor {
    const only = this.#layers.length === 1;
    return scope(() => at(this.#layers, 0).selfAttention(this.#embed(texts), texts.packing, this.mode, only));
  }

  /**
   * Image tokens (I, L, V), or of one image (L, V) → keys and values for every layer, each (I, H, L, d). Computed once an
   * image, whatever the number of its texts.
   */
  imageKeysValues(imageEmbeds: Tensor): KeysValues[] {
    const { inputs } = this.#crossKeysValues;
    if (imageEmbeds.size(-1) !== inputs)
      throw new RangeError(`Expected image tokens of width ${inputs} but received [${imageEmbeds.shape}]`);
    return scope(() => this.#crossKeysValues.forward(ops.reshape(imageEmbeds, [-1, ...imageEmbeds.shape.slice(-2)])));
  }

  /** Everything after layer 0's self-attention. x: `stem`'s (T, D) → hidden states (n, D) of first tokens, or (T, D) of all. */
  #rest(x: Tensor, packing: Packing, images: ImageContext | undefined, all: boolean): Tensor {
    let hidden = x;
    const step = (next: Tensor) => {
      if (hidden !== x) hidden.dispose();
      hidden = next;
    };
    this.#layers.forEach((layer, i) => {
      const first = i === this.#layers.length - 1 && !all;
      if (i > 0) step(layer.selfAttention(hidden, packing, this.mode, first));
      const keysValues = images?.keysValues[i];
      const rows = first ? images?.firstRows : images?.rows;
      if (keysValues !== undefined) step(layer.crossAttention(hidden, keysValues, rows, this.mode));
      step(layer.feedForward(hidden, this.mode));
    });
    return hidden;
  }

  /** Multimodal mode: the texts' `stem` (T, D) against their images → hidden states of the texts' first tokens, (n, D). */
  forwardPairs(stem: Tensor, packing: Packing, images: ImageContext): Tensor {
    return this.#rest(stem, packing, images, false);
  }

  /** Text mode: hidden states of the texts' first tokens, (n, D). */
  forwardTexts(texts: PackedTexts): Tensor {
    return scope(() => this.#rest(this.stem(texts), texts.packing, undefined, false));
  }

  /**
   * Hidden states of every token, (T, D), which the goldens hold; with `images` in multimodal mode, else in text mode.
   * @internal
   */
  forwardAll(texts: PackedTexts, images?: ImageContext): Tensor {
    return scope(() => {
      if (this.#layers.length === 1)
        throw new RangeError('Expected a text encoder of two or more layers: the only layer gives first tokens alone');
      return this.#rest(this.stem(texts), texts.packing, images, true);
    });
  }
}

/** The images that packed texts meet: one for all, or with `rows` (of T tokens) and `firstRows` (of n first tokens) several. */
export interface ImageContext {
  keysValues: readonly KeysValues[];
  rows?: RowsByImage;
  firstRows?: RowsByImage;
}
