// The names that other programs give to the same weights, and the reference's: Hugging Face's BlipForImageTextRetrieval and
// LAVIS' BlipRetrieval. No tensor is transposed, split or fused by either. Source: transformers 5.24 and 4.26, LAVIS 506965b.

/** What stands in front of the names of the vision encoder; the text encoder and the heads are called alike. */
const HUGGING_FACE = 'vision_model.';
const LAYER = [/^vision_model\.encoder\.layers\.(\d+)\.(.+)$/, /^visual_encoder\.blocks\.(\d+)\.(.+)$/] as const;

/** Hugging Face's name and the reference's, of the vision encoder and of the parts of its layers. */
const VISION = [
  ['vision_model.embeddings.class_embedding', 'visual_encoder.cls_token'],
  ['vision_model.embeddings.position_embedding', 'visual_encoder.pos_embed'],
  ['vision_model.embeddings.patch_embedding.', 'visual_encoder.patch_embed.proj.'],
  ['vision_model.post_layernorm.', 'visual_encoder.norm.'],
] as const;
const PARTS = [
  ['layer_norm1.', 'norm1.'],
  ['layer_norm2.', 'norm2.'],
  ['self_attn.qkv.', 'attn.qkv.'],
  ['self_attn.projection.', 'attn.proj.'],
  ['mlp.', 'mlp.'],
] as const;

/** LAVIS' name of a buffer, and the reference's. */
const LAVIS = ['queue_ptr', 'ptr_queue'] as const;

type Pairs = readonly (readonly [string, string])[];

/** `name` with the beginning that one side of `pairs` has replaced by the other's; undefined where none fits. */
function exchanged(name: string, pairs: Pairs, from: 0 | 1): string | undefined {
  const pair = pairs.find((names) => (names[from].endsWith('.') ? name.startsWith(names[from]) : name === names[from]));
  return pair === undefined ? undefined : pair[1 - from] + name.slice(pair[from].length);
}

/** The reference's name of Hugging Face's or LAVIS'; any other name as it is. */
export function referenceName(name: string): string {
  if (name === LAVIS[0]) return LAVIS[1];
  if (!name.startsWith(HUGGING_FACE)) return name;
  const [, layer, rest] = LAYER[0].exec(name) ?? [];
  if (layer === undefined || rest === undefined) return exchanged(name, VISION, 0) ?? name;
  const part = exchanged(rest, PARTS, 0);
  return part === undefined ? name : `visual_encoder.blocks.${layer}.${part}`;
}

/** Hugging Face's name of the reference's, for the entries that its class has; undefined of the others. */
export function huggingFaceName(name: string): string | undefined {
  const [, layer, rest] = LAYER[1].exec(name) ?? [];
  if (layer !== undefined && rest !== undefined) {
    const part = exchanged(rest, PARTS, 1);
    return part === undefined ? undefined : `vision_model.encoder.layers.${layer}.${part}`;
  }
  const vision = exchanged(name, VISION, 1);
  if (vision !== undefined) return vision;
  return /^(?:text_encoder|vision_proj|text_proj|itm_head)\./.test(name) ? name : undefined;
}

/** Whose names these are, undefined where they are the reference's or nobody's that is known. */
export function namesOf(names: Iterable<string>): 'Hugging Face' | 'LAVIS' | undefined {
  for (const name of names) {
    if (name === VISION[0][0]) return 'Hugging Face';
    if (name === LAVIS[0]) return 'LAVIS';
  }
  return undefined;
}

/** Models of the same family for another task: what their names have, what they are, and what to take instead. */
const OTHER_TASKS = [
  [/^text_decoder\.|^prompt_length$/, 'a captioning or question answering model'],
  [/^(?:text_model|logit_scale$|visual_projection)/, 'a model without image-text matching (BlipModel or CLIP)'],
  [/^(?:Qformer|qformer|language_model|query_tokens)/, 'a BLIP-2 or InstructBLIP model'],
  [/^cls_head\./, 'a classifier of image pairs (NLVR2)'],
] as const;

/** What the weights are of, where they are another model's of this family. */
export function otherTask(names: Iterable<string>): string | undefined {
  const all = [...names];
  return OTHER_TASKS.find(([pattern]) => all.some((name) => pattern.test(name)))?.[1];
}
