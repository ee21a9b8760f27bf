// The transform of training: random crop, resizing, mirroring and RandAugment. Division by 255 and normalization follow on
// the device.
import { type Augmentation, augment, drawAugmentations } from './augment.js';
import type { RgbImage } from './decode.js';
import { imageAddon } from './image-addon.js';
import { SampleRandom, type StreamPlace } from './philox.js';
import { type Box, randomResizedCrop } from './random-resized-crop.js';

/** All that is random about one sample. */
export interface TrainingDraw {
  box: Box;
  mirrored: boolean;
  augmentations: Augmentation[];
}

/** Draws for an image of this size. */
export function drawTraining(random: SampleRandom, width: number, height: number): TrainingDraw {
  return {
    box: randomResizedCrop(random, width, height),
    mirrored: random.flip(),
    augmentations: drawAugmentations(random),
  };
}

/**
 * Transforms an image as drawn for `place`.
 * @param dst (size, size, 3) uint8, which is written
 */
export function trainTransform(
  { data, width, height }: RgbImage,
  size: number,
  dst: Uint8Array,
  place: StreamPlace,
): void {
  const { box, mirrored, augmentations } = drawTraining(new SampleRandom(place), width, height);
  imageAddon().resizeBicubic(data, width, height, size, size, dst, box);
  if (mirrored) imageAddon().mirrorRows(dst, size, size);
  let pixels = dst;
  for (const operation of augmentations) pixels = augment(pixels, size, size, operation);
  if (pixels !== dst) dst.set(pixels);
}
