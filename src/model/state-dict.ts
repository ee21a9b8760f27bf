// Every entry of the model's state dict, in the reference's order: what a checkpoint holds and is compared with.
import type { DType } from '../torch/dtype.js';
import type { Architecture, TextSizes, VisionSizes } from './architecture.js';

/** [name, shape, dtype] of one parameter or buffer. */
export type Entry = readonly [name: string, shape: readonly number[], dtype: DType];

const linear = (name: string, inputs: number, outputs: number): Entry[] => [
  [`${name}.weight`, [outputs, inputs], 'float32'],
  [`${name}.bias`, [outputs], 'float32'],
];

const norm = (name: string, width: number): Entry[] => [
  [`${name}.weight`, [width], 'float32'],
  [`${name}.bias`, [width], 'float32'],
];

/** Number of patches of an image. */
export function patchesOf({ imageSize, patchSize }: VisionSizes): number {
  return (imageSize / patchSize) ** 2;
}

function visionEntries(prefix: string, sizes: VisionSizes): Entry[] {
  const { width, depth, patchSize } = sizes;
  const block = (name: string): Entry[] => [
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

function textEntries(prefix: string, sizes: TextSizes, visionWidth: number): Entry[] {
  const { width, intermediate, depth } = sizes;
  const attention = (name: string, source: number): Entry[] => [
    ...linear(`${name}.self.query`, width, width),
    ...linear(`${name}.self.key`, source, width),
    ...linear(`${name}.self.value`, source, width),
    ...linear(`${name}.output.dense`, width, width),
    ...norm(`${name}.output.LayerNorm`, width),
  ];
  const layer = (name: string): Entry[] => [
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

/** The entries of one set of encoders and projections: `suffix` '' is the online model, '_m' the momentum copy. */
function encoderEntries({ vision, text, embedDim }: Architecture, suffix: '' | '_m'): Record<string, Entry[]> {
  return {
    vision: visionEntries(`visual_encoder${suffix}`, vision),
    text: textEntries(`text_encoder${suffix}`, text, vision.width),
    visionProj: linear(`vision_proj${suffix}`, vision.width, embedDim),
    textProj: linear(`text_proj${suffix}`, text.width, embedDim),
  };
}

/** All entries of the model's state dict: temperature, queues, online model, momentum copies. */
export function modelEntries(architecture: Architecture): Entry[] {
  const { embedDim, queueSize, text } = architecture;
  const online = encoderEntries(architecture, '');
  const momentum = encoderEntries(architecture, '_m');
  return [
    ['temp', [], 'float32'],
    ['image_queue', [embedDim, queueSize], 'float32'],
    ['text_queue', [embedDim, queueSize], 'float32'],
    ['idx_queue', [1, queueSize], 'int64'],
    ['ptr_queue', [1], 'int64'],
    ...(online.vision ?? []),
    ...(online.text ?? []),
    ...(online.visionProj ?? []),
    ...(online.textProj ?? []),
    ...linear('itm_head', text.width, 2),
    ...(momentum.vision ?? []),
    ...(momentum.visionProj ?? []),
    ...(momentum.text ?? []),
    ...(momentum.textProj ?? []),
  ];
}

const TRAINING_ONLY = /^(temp|image_queue|text_queue|idx_queue|ptr_queue)$|_m\.|position_ids$/;

/** Whether evaluation uses the entry: the online model does; momentum copies, queues and temperature are training's. */
export function isEvaluated(name: string): boolean {
  return !TRAINING_ONLY.test(name);
}

/** Number of parameters that training changes: everything but buffers and momentum copies. */
export function trainableParameters(entries: readonly Entry[]): number {
  return entries
    .filter(([name]) => name === 'temp' || isEvaluated(name))
    .reduce((total, [, shape]) => total + shape.reduce((product, size) => product * size, 1), 0);
}
