// The transforms as data, which a loader can send to its threads.
import type { RgbImage } from './decode.js';
import { evaluationTransform } from './evaluation-transform.js';
import { imageAddon } from './image-addon.js';
import { trainTransform } from './train-transform.js';

export type ImageTransform =
  /** None: images are decoded to find the bad ones. */
  | { kind: 'decode' }
  | { kind: 'evaluation' }
  /** Random, as decided by the position of image i in its epoch. */
  | {
      kind: 'train';
      seed: number;
      epoch: number;
      /** Position of image 0 in the epoch's order over all ranks: more than 0 after a resume. */
      first: number;
      /** Positions from one image to the next, the number of ranks. Default: 1. */
      stride?: number;
    };

/**
 * The function that transforms image `index` into `dst`, (size, size, 3) uint8.
 * @throws UserError when image.node, which it needs, does not load
 */
export function transformOf(
  transform: ImageTransform,
  size: number,
): (image: RgbImage, index: number, dst: Uint8Array) => void {
  if (transform.kind === 'decode') return () => {};
  imageAddon(); // fails here rather than at each image, which would be taken for a bad one
  if (transform.kind === 'evaluation') return (image, _, dst) => evaluationTransform(image, size, dst);
  const { seed, epoch, first, stride = 1 } = transform;
  return (image, index, dst) => trainTransform(image, size, dst, { seed, epoch, position: first + index * stride });
}
