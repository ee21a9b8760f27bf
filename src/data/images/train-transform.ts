// The transform of training: random crop, resize, mirror and RandAugment; division by 255 and normalisation follow on the device.
import { native } from '../../torch/native.js';
import { type Augmentation, augment, drawAugmentations } from './augment.js';
import { type DecodeOptions, decodeRgb } from './decode.js';
import { SampleRandom, type StreamPlace } from './philox.js';
import { type Box, randomResizedCrop } from './random-resized-crop.js';

/** Everything that chance decides for one sample. */
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
 * Decodes an image and transforms it for training, as `place` decides.
 * @param dst (size, size, 3) uint8, which is written
 * @throws UserError as decodeRgb does
 */
export async function trainingTransform(
  path: string,
  size: number,
  dst: Uint8Array,
  place: StreamPlace,
  options: DecodeOptions = {},
): Promise<void> {
  const { data, width, height } = await decodeRgb(path, options);
  const { box, mirrored, augmentations } = drawTraining(new SampleRandom(place), width, height);
  native().resizeBicubic(data, width, height, size, size, dst, box);
  if (mirrored) native().mirrorRows(dst, size, size);
  let pixels = dst;
  for (const operation of augmentations) pixels = augment(pixels, size, size, operation);
  if (pixels !== dst) dst.set(pixels);
}
