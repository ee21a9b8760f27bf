// Every entry of the model's state dict, in the reference's order: what a checkpoint holds and is compared with.
import type { DType } from '../torch/dtype.js';
import type { Architecture, TextSizes, VisionSizes } from './architecture.js';

/** [name, shape, dtype] of one parameter or buffer. */
export type StateDictEntry = readonly [name: string, shape: readonly number[], dtype: DType];

/** Online model or momentum copy. */
type Suffix = '' | '_m';

const linear = (name: string, inputs: number, outputs: number): StateDictEntry[] => [
  [`${name}.weight`, [outputs, inputs], 'float32'],
  [`${name}.bias`, [outputs], 'float32'],
];

const norm = (name: string, width: number): StateDictEntry[] => [
  [`${name}.weight`, [width], 'float32'],
  [`${name}.bias`, [width], 'float32'],
];

/** Number of patches of an image. */
export function patchesOf({ imageSize, patchSize }: VisionSizes): number {
  return (imageSize / patchSize) ** 2;
}

function visionEntries(prefix: string, sizes: VisionSizes): StateDictEntry[] {
  const { width, depth, patchSize } = sizes;
  const block = (name: string): StateDictEntry[] => [
    ...norm(`${name}.norm1`, width),
    ...linear(`${name}.attn.qkv`, width, 3 * width),
    ...linear(`${name}.attn.proj`, width, width),
    ...norm(`${name}.norm2`, width),
    ...linear(`${name}.mlp.fc1`, width, 4 * width),
    ...linear(`${name}.mlp.fc2`, 4 * width, width),
  ];
  return [
    [`${prefix}.cls_token`, [1, 1, width], 'float32'],
    [`${prefix}.pos_embed`, [1, patchesOf(sizes) + 1, width], 'float32'],
    [`${prefix}.patch_embed.proj.weight`, [width, 3, patchSize, patchSize], 'float32'],
    [`${prefix}.patch_embed.proj.bias`, [width], 'float32'],
    ...Array.from({ length: depth }, (_, i) => block(`${prefix}.blocks.${i}`)).flat(),
    ...norm(`${prefix}.norm`, width),
  ];
}

function textEntries(prefix: string, sizes: TextSizes, visionWidth: number): StateDictEntry[] {
  const { width, intermediate, depth } = sizes;
  const attention = (name: string, source: number): StateDictEntry[] => [
    ...linear(`${name}.self.query`, width, width),
    ...linear(`${name}.self.key`, source, width),
    ...linear(`${name}.self.value`, source, width),
    ...linear(`${name}.output.dense`, width, width),
    ...norm(`${name}.output.LayerNorm`, width),
  ];
  const layer = (name: string): StateDictEntry[] => [
    ...attention(`${name}.attention`, width),
    ...attention(`${name}.crossattention`, visionWidth),
    ...linear(`${name}.intermediate.dense`, width, intermediate),
    ...linear(`${name}.output.dense`, intermediate, width),
    ...norm(`${name}.output.LayerNorm`, width),
  ];
  return [
    [`${prefix}.embeddings.position_ids`, [1, sizes.positions], 'int64'],
    [`${prefix}.embeddings.word_embeddings.weight`, [sizes.vocabulary, width], 'float32'],
    [`${prefix}.embeddings.position_embeddings.weight`, [sizes.positions, width], 'float32'],
    ...norm(`${prefix}.embeddings.LayerNorm`, width),
    ...Array.from({ length: depth }, (_, i) => layer(`${prefix}.encoder.layer.${i}`)).flat(),
  ];
}

/** All entries of the model's state dict: temperature, queues, online model, momentum copies. */
export function stateDictEntries({ vision, text, embedDim, queueSize }: Architecture): StateDictEntry[] {
  const visionEncoder = (suffix: Suffix) => visionEntries(`visual_encoder${suffix}`, vision);
  const textEncoder = (suffix: Suffix) => textEntries(`text_encoder${suffix}`, text, vision.width);
  const visionProj = (suffix: Suffix) => linear(`vision_proj${suffix}`, vision.width, embedDim);
  const textProj = (suffix: Suffix) => linear(`text_proj${suffix}`, text.width, embedDim);
  return [
    ['temp', [], 'float32'],
    ['image_queue', [embedDim, queueSize], 'float32'],
    ['text_queue', [embedDim, queueSize], 'float32'],
    ['idx_queue', [1, queueSize], 'int64'],
    ['ptr_queue', [1], 'int64'],
    ...[...visionEncoder(''), ...textEncoder(''), ...visionProj(''), ...textProj('')],
    ...linear('itm_head', text.width, 2),
    ...[...visionEncoder('_m'), ...visionProj('_m'), ...textEncoder('_m'), ...textProj('_m')],
  ];
}

/** The online entry that a momentum copy follows: `vision_proj.bias` of `vision_proj_m.bias`; undefined of other names. */
export function momentumTwin(name: string): string | undefined {
  return /_m\./.test(name) ? name.replace('_m.', '.') : undefined;
}

/** Whether the entry is a buffer: neither trained nor moved with the parameters, as torch.nn.Module.buffers() has it. */
export function isBuffer(name: string): boolean {
  return /_queue$|position_ids$/.test(name);
}

/** Whether training changes the entry: a parameter of the online model. */
export function isTrained(name: string): boolean {
  return !isBuffer(name) && momentumTwin(name) === undefined;
}

/** Whether evaluation uses the entry: the online model without its temperature. */
export function isEvaluated(name: string): boolean {
  return name !== 'temp' && isTrained(name);
}
