// A checkpoint's weights under the reference's names, whoever wrote it, and the sizes that their shapes tell.
import { get, UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { type Checkpoint, type TensorRef, weightsOf } from '../torch/checkpoint/index.js';
import { type CheckpointSizes, PATCH_SIZE, visionNameOf } from './architecture.js';
import { plainNames } from './checkpoint-names.js';
import { namesOf, referenceName } from './foreign-names.js';

export interface CheckpointEntries {
  /** By the reference's name. */
  refs: Map<string, TensorRef>;
  /** Entries among them that are no tensors: name, and what is there. */
  others: Map<string, string>;
  /** How the file's form differs from the reference's, a line each. */
  notes: string[];
}

const OWN =
  /^(?:(?:visual_encoder|text_encoder|vision_proj|text_proj)(?:_m)?\.|itm_head\.|temp$|(?:image|text|idx|ptr)_queue$)/;

/** The state dict of a checkpoint, prefixes taken off and names of other programs replaced. @throws as weightsOf */
export function entriesOf(checkpoint: Checkpoint): CheckpointEntries {
  const { tensors, others, keys } = weightsOf(checkpoint);
  const { fileNames, prefixes, count } = plainNames(tensors.keys(), (name) => OWN.test(referenceName(name)));
  const refs = new Map<string, TensorRef>();
  let renamed = 0;
  for (const [name, fileName] of fileNames) {
    const own = referenceName(name);
    const taken = own !== name && fileNames.has(own); // by the entry that has the reference's name
    if (own !== name && !taken) renamed += 1;
    refs.set(taken ? name : own, get(tensors, fileName));
  }
  const notes: string[] = [];
  const foreign = namesOf(fileNames.keys());
  if (foreign !== undefined && renamed > 0) notes.push(`${foreign} names: ${renamed} renamed`);
  const place = keys.map((key) => `"${key}"`).join(' / ');
  if (keys.length > 0 && place !== '"model"') notes.push(`weights found under ${place}`);
  if (prefixes.length > 0)
    notes.push(`prefix ${prefixes.map((prefix) => `"${prefix}"`).join(' and ')} taken off ${counted(count, 'name')}`);
  return { refs, others, notes };
}

/** Patches a side when `shape` is (1, side² + 1, width) of the model's width, else undefined. */
export function gridOf(shape: readonly number[], width: number): number | undefined {
  const [one, tokens = 0, w, ...more] = shape;
  const side = Math.sqrt(tokens - 1);
  return one === 1 && w === width && more.length === 0 && Number.isInteger(side) && side > 0 ? side : undefined;
}

/**
 * The sizes of the model that a checkpoint's weights are of.
 * @throws UserError where it has no vision encoder, or one of no size that is known
 */
export function sizesOf(checkpoint: Checkpoint): CheckpointSizes {
  const { refs } = entriesOf(checkpoint);
  const remedy = 'Set vit and image_size in the config, or name another checkpoint.';
  const [, , width = Number.NaN] = refs.get('visual_encoder.pos_embed')?.shape ?? [];
  const side = gridOf(refs.get('visual_encoder.pos_embed')?.shape ?? [], width);
  if (side === undefined)
    throw new UserError(
      `${checkpoint.path} has no vision encoder that tells its size (visual_encoder.pos_embed). ${remedy}`,
    );
  const depth = [...refs.keys()].filter((name) => /^visual_encoder\.blocks\.\d+\.norm1\.weight$/.test(name)).length;
  const vit = visionNameOf(width, depth);
  if (vit === undefined)
    throw new UserError(
      `${checkpoint.path} has a vision encoder of width ${width} and ${counted(depth, 'block')}, which is no known vit. ${remedy}`,
    );
  return { vit, imageSize: side * PATCH_SIZE, queueSize: refs.get('image_queue')?.shape[1] };
}
