// The retrieval model as evaluation uses it: images and texts to features (ITC), image–text pairs to match logits (ITM).
// Shapes: B images, P pixels a side, L image tokens of width V; n texts, T packed tokens of width D; E = 256.
import { Linear, type StateDict } from '../torch/nn.js';
import * as ops from '../torch/ops.js';
import type { Precision } from '../torch/precision.js';
import { autocast, type Device, noGrad, recordMade, scope, type Tensor } from '../torch/tensor.js';
import { upload } from '../torch/transfer.js';
import type { Architecture } from './architecture.js';
import { attentionFor } from './packed-attention.js';
import { layOutTexts, type PackedTexts, type Packing, packedTexts, sortByLength } from './packed-texts.js';
import { type KeysValues, TextEncoder } from './text-encoder.js';
import { VisionTransformer } from './vision-transformer.js';

export interface ModelOptions {
  device?: Device;
  precision?: Precision;
  /**
   * Takes the weights over: each tensor of the state is freed as soon as the model has it, so that no more than one is
   * there twice. Off by default.
   */
  consume?: boolean;
}

/** Which weights are bfloat16 in an evaluation in bf16: the text encoder's, and of the vision encoder those of products. */
function isHalf(name: string): boolean {
  return name.startsWith('text_encoder.') || /^visual_encoder\..*\.(qkv|proj|fc1|fc2)\.(weight|bias)$/.test(name);
}

export class BlipRetrieval {
  readonly architecture: Architecture;
  readonly device: Device;
  readonly precision: Precision;
  readonly vision: VisionTransformer;
  readonly text: TextEncoder;
  readonly #visionProj: Linear;
  readonly #textProj: Linear;
  readonly #itmHead: Linear;
  readonly #weights: readonly Tensor[];

  /**
   * `state` holds the online model's weights as float32 (see loadPretrained); they are shared where device and dtype
   * fit, else copied. A model made inside a scope lives as long as the scope.
   */
  constructor(state: ReadonlyMap<string, Tensor>, architecture: Architecture, options: ModelOptions = {}) {
    this.architecture = architecture;
    this.device = options.device ?? 'cpu';
    this.precision = options.precision ?? 'fp32';
    const half = this.precision === 'bf16';
    const { result, made } = recordMade(() => {
      // The vision encoder runs under autocast, which keeps its residual stream in float32; the weights that autocast would
      // cast anew for every batch are cast here, once. The text encoder, which does nearly all the work, is bfloat16
      // throughout; its LayerNorms compute in float32 inside.
      // Each is copied when the layer that has it is made, which may pack it and free the copy.
      const onDevice: StateDict = {
        get: (name) => {
          const tensor = state.get(name);
          if (tensor === undefined) return undefined;
          const dtype = half && isHalf(name) ? 'bfloat16' : 'float32';
          const moved = ops.to(tensor, { device: this.device, dtype });
          if (options.consume) tensor.dispose();
          return moved;
        },
      };
      return noGrad(() => ({
        vision: new VisionTransformer(onDevice, architecture.vision, { frozen: true }),
        text: new TextEncoder(onDevice, architecture.text, { frozen: true }),
        visionProj: Linear.of(onDevice, 'vision_proj'),
        textProj: Linear.of(onDevice, 'text_proj'),
        itmHead: Linear.of(onDevice, 'itm_head'),
      }));
    });
    if (options.consume) for (const tensor of state.values()) tensor.dispose();
    this.vision = result.vision;
    this.text = result.text;
    this.#visionProj = result.visionProj;
    this.#textProj = result.textProj;
    this.#itmHead = result.itmHead;
    this.#weights = made;
    const attend = attentionFor(architecture.text, this.device, half ? 'bfloat16' : 'float32');
    this.text.mode = { ...this.text.mode, attend };
  }

  /** Frees the model's weights; those that it shares with `state` live on there. */
  dispose(): void {
    for (const tensor of this.#weights) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Normalised images (B, 3, P, P) → all tokens `embeds` (B, L, V) and unit `features` (B, E) float32. */
  encodeImages(images: Tensor): { embeds: Tensor; features: Tensor } {
    return noGrad(() =>
      scope(() => {
        const half = this.precision === 'bf16';
        const forward = () => this.vision.forward(images);
        const embeds = half ? autocast(this.device, 'bfloat16', forward) : forward();
        const features = ops.normalize(this.#visionProj.forward(ops.select(embeds, 1, 0)), -1);
        return { embeds: half ? ops.to(embeds, { dtype: 'bfloat16' }) : embeds, features };
      }),
    );
  }

  /** Token rows [CLS] … [SEP] in any order → unit features (n, E) float32, in that order. */
  embedTexts(rows: readonly Int32Array[]): Tensor {
    const { sorted, rowOf } = sortByLength(rows);
    const { layout, arrays } = layOutTexts(sorted);
    return scope(() => {
      const sent = upload(this.device, { ...arrays, rowOf });
      return ops.indexSelect(this.encodeTexts(packedTexts(layout, sent)), 0, sent.rowOf);
    });
  }

  /** Texts that begin with [CLS] → unit features (n, E) float32. */
  encodeTexts(texts: PackedTexts): Tensor {
    return noGrad(() =>
      scope(() => {
        const hidden = ops.to(this.text.forwardTexts(texts), { dtype: 'float32' });
        return ops.normalize(this.#textProj.forward(hidden), -1);
      }),
    );
  }

  /** Texts that begin with [ENC] → the image-independent prefix of the multimodal encoder, (T, D); see TextEncoder.stem. */
  stem(texts: PackedTexts): Tensor {
    return noGrad(() => this.text.stem(texts));
  }

  /** One image's tokens (L, V) → its keys and values for every layer. */
  imageKeysValues(embeds: Tensor): KeysValues[] {
    return noGrad(() => this.text.imageKeysValues(embeds));
  }

  /** Stems of n texts (T, D) against one image → ITM logits (n, 2) float32; column 1 speaks for a match. */
  matchLogits(stem: Tensor, packing: Packing, image: readonly KeysValues[]): Tensor {
    return noGrad(() =>
      scope(() =>
        this.#itmHead.forward(
          ops.to(this.text.forwardPairs(stem, packing, { keysValues: image }), { dtype: 'float32' }),
        ),
      ),
    );
  }
}
