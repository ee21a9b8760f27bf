// The transform of evaluation: resizing to a square, whatever the proportions. Division by 255 and normalization follow
// on the device.
import type { RgbImage } from './decode.js';
import { imageAddon } from './image-addon.js';

/** @param dst (size, size, 3) uint8, which is written */
export function evaluationTransform({ data, width, height }: RgbImage, size: number, dst: Uint8Array): void {
  imageAddon().resizeBicubic(data, width, height, size, size, dst);
}
