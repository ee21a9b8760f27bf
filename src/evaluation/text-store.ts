// What is computed once a text: features, and stems (the image-independent prefix of the multimodal encoder).
// Shapes: U distinct texts, T tokens of all of them, D text width, E feature width.
import { at } from '../errors.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { offsetsOf } from '../model/offsets.js';
import { layOut, type Packing, packTexts, tokenChunks } from '../model/packed-texts.js';
import * as ops from '../torch/ops.js';
import { keep, scope, type Tensor } from '../torch/tensor.js';
import { upload } from '../torch/transfer.js';
import type { UniqueTexts } from './unique-texts.js';

/** Packed stems of some texts, ready to meet an image. */
export interface StemBatch {
  stem: Tensor; // (tokens, D)
  packing: Packing;
}

export class TextStore {
  readonly #offsets: Int32Array; // of each text's tokens among T

  private constructor(
    readonly model: BlipRetrieval,
    readonly unique: UniqueTexts,
    readonly encToken: number,
    /** Unit features of the distinct texts, (U, E) float32 on the device. */
    readonly features: Tensor,
    readonly stems: Tensor | undefined, // (T, D)
  ) {
    this.#offsets = offsetsOf(unique.lengths);
  }

  /**
   * Encodes the distinct texts in chunks of `tokenBudget` tokens. Stems are kept when all fit into `budget` bytes, else
   * computed when they are asked for. `encToken` is the id of [ENC], which replaces [CLS] in multimodal mode.
   */
  static encode(
    model: BlipRetrieval,
    unique: UniqueTexts,
    encToken: number,
    tokenBudget: number,
    budget: number,
  ): TextStore {
    const tokens = unique.lengths.reduce((sum, length) => sum + length, 0);
    const bytes = tokens * model.architecture.text.width * (model.precision === 'bf16' ? 2 : 4);
    const features: Tensor[] = [];
    const stems: Tensor[] = [];
    for (const [first, end] of tokenChunks(unique.lengths, tokenBudget))
      scope(() => {
        const rows = unique.rows.slice(first, end);
        features.push(keep(model.encodeTexts(packTexts(rows, model.device))));
        if (bytes <= budget) stems.push(keep(model.stem(packTexts(rows, model.device, { firstToken: encToken }))));
      });
    const joined = (parts: Tensor[]) => {
      const all = keep(ops.cat(parts));
      for (const part of parts) part.dispose();
      return all;
    };
    return new TextStore(model, unique, encToken, joined(features), stems.length > 0 ? joined(stems) : undefined);
  }

  /** The stems of `texts` (ascending numbers of distinct texts). One upload. */
  batch(texts: Int32Array): StemBatch {
    const { model, unique, stems } = this;
    if (stems === undefined) {
      const rows = Array.from(texts, (text) => at(unique.rows, text));
      const packed = packTexts(rows, model.device, { firstToken: this.encToken });
      return { stem: model.stem(packed), packing: packed.packing };
    }
    const lengths = Int32Array.from(texts, (text) => at(unique.lengths, text));
    const { layout, arrays } = layOut(lengths);
    const tokens = new Int32Array(layout.tokens);
    let next = 0;
    for (const [i, text] of texts.entries()) {
      const end = next + at(lengths, i);
      for (let token = at(this.#offsets, text); next < end; token++) tokens[next++] = token;
    }
    const { tokens: rows, ...sent } = upload(model.device, { ...arrays, tokens });
    return { stem: ops.indexSelect(stems, 0, rows), packing: { ...layout, ...sent } };
  }

  dispose(): void {
    this.features.dispose();
    this.stems?.dispose();
  }
}
