// Whether an evaluation fits into the memory that there is.
import { formatBytes } from '../disk/space.js';
import { UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { PATCH_SIZE } from '../model/architecture.js';

/**
 * @param encoding bytes for each image of a batch, and those held without one
 * @param most bytes that can be held
 * @throws UserError where a batch cannot be encoded, with the largest that can
 */
export function demandEncodingMemory(
  encoding: { perImage: number; held: number },
  { batchSize, imageSize }: { batchSize: number; imageSize: number },
  most: number,
): void {
  const { perImage, held } = encoding;
  const needed = held + batchSize * perImage;
  if (needed <= most) return;
  const largest = Math.floor((most - held) / perImage);
  // Tokens, and so activations, grow with the square of the side.
  const side = Math.floor((imageSize * Math.sqrt(Math.max(0, most - held) / perImage)) / PATCH_SIZE) * PATCH_SIZE;
  const remedy =
    largest >= 1
      ? `The largest batch_size_test that fits is ${largest}`
      : `Not even one image fits; the largest image_size that fits is about ${Math.max(PATCH_SIZE, side)}`;
  throw new UserError(
    `Encoding ${counted(batchSize, 'image')} of ${imageSize} pixels at once (batch_size_test) needs about ${formatBytes(needed)} of memory, and ${formatBytes(most)} is available. ${remedy}.`,
  );
}

/** @throws UserError where the features that `feature_memory` lets an evaluation keep do not fit, with the most that do */
export function demandFeatureMemory(
  featureMemory: number,
  { images, stems, working }: { images: number; stems: number; working: number },
  most: number,
): void {
  const needed = images + stems + working;
  if (needed <= most) return;
  const largest = Math.floor(Math.max(0, most - working));
  throw new UserError(
    `feature_memory ${formatBytes(featureMemory)} is too much: with ${formatBytes(images + stems)} of features the evaluation needs ` +
      `${formatBytes(needed)} of memory, and ${formatBytes(most)} is available. The largest that fits is ${counted(largest, 'byte')} (${formatBytes(largest)}); 'auto' chooses by itself.`,
  );
}
