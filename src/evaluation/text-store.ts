// What of the texts is computed once: their features, and their stems (what of the multimodal encoder sees no image).
// Shapes: U distinct texts, T tokens of all of them, D text width, E feature width.
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { int32, type Packing, packingOf } from '../model/packed-texts.js';
import * as ops from '../torch/ops.js';
import { keep, scope, type Tensor } from '../torch/tensor.js';
import { packedTokens, tokenChunks, tokenRow, type UniqueTexts } from './unique-texts.js';

/** Packed stems of some texts, ready to meet an image. */
export interface TextBatch {
  stem: Tensor; // (tokens, D)
  packing: Packing;
}

export class TextStore {
  /** Unit features of the distinct texts, (U, E) float32 on the device. */
  readonly features: Tensor;
  readonly #stems: Tensor | undefined; // (T, D)

  private constructor(
    readonly model: BlipRetrieval,
    readonly texts: UniqueTexts,
    readonly encToken: number,
    features: Tensor,
    stems: Tensor | undefined,
  ) {
    this.features = features;
    this.#stems = stems;
  }

  /**
   * Encodes the distinct texts in chunks of `tokenBudget` tokens. Stems are kept when all fit into `budget` bytes, else
   * computed when they are asked for. `encToken` is the id of [ENC], which replaces [CLS] in multimodal mode.
   */
  static encode(
    model: BlipRetrieval,
    texts: UniqueTexts,
    encToken: number,
    tokenBudget: number,
    budget: number,
  ): TextStore {
    const bytes = texts.ids.length * model.architecture.text.width * (model.precision === 'bf16' ? 2 : 4);
    const keepStems = bytes <= budget;
    const features: Tensor[] = [];
    const stems: Tensor[] = [];
    for (const [from, to] of tokenChunks(texts.starts, tokenBudget))
      scope(() => {
        features.push(keep(model.encodeTexts(packedTokens(texts, from, to, model.device))));
        if (keepStems) stems.push(keep(model.stem(packedTokens(texts, from, to, model.device, encToken))));
      });
    const joined = (parts: Tensor[]) => {
      const all = keep(ops.cat(parts));
      for (const part of parts) part.dispose();
      return all;
    };
    return new TextStore(model, texts, encToken, joined(features), keepStems ? joined(stems) : undefined);
  }

  /** The texts `list` (ascending numbers of distinct texts). */
  batch(list: Int32Array): TextBatch {
    const { texts, model } = this;
    const lengths = Int32Array.from(list, (text) => texts.lengths[text] ?? 0);
    const stems = this.#stems;
    if (stems === undefined) {
      const rows = Array.from(list, (text) => tokenRow(texts, text));
      const starts = new Int32Array(list.length + 1);
      lengths.forEach((length, i) => {
        starts[i + 1] = (starts[i] ?? 0) + length;
      });
      const ids = new Int32Array(starts[list.length] ?? 0);
      rows.forEach((row, i) => {
        ids.set(row, starts[i]);
      });
      const chosen = { ids, starts, lengths, count: list.length, rowOf: new Int32Array() };
      const tokens = packedTokens(chosen, 0, list.length, model.device, this.encToken);
      return { stem: model.stem(tokens), packing: tokens.packing };
    }
    const packing = packingOf(lengths, model.device);
    const rows = new Int32Array(packing.tokens);
    let at = 0;
    for (const text of list)
      for (let row = texts.starts[text] ?? 0; row < (texts.starts[text + 1] ?? 0); row++) rows[at++] = row;
    return { stem: ops.indexSelect(stems, 0, int32(rows, model.device)), packing };
  }

  dispose(): void {
    this.features.dispose();
    this.#stems?.dispose();
  }
}
