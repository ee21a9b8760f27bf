// Decoded pixels to what the vision encoder takes, on the device.
import { IMAGE_MEAN, IMAGE_STD } from '../data/images/normalization.js';
import * as ops from '../torch/ops.js';
import { type Device, scope, type Tensor } from '../torch/tensor.js';

/** The bytes of `count` images of `size` pixels a side, as the loader gives them, made ready for the vision encoder. */
export function imagesFromBytes(bytes: Uint8Array, count: number, size: number, device: Device): Tensor {
  return scope(() => normalizeImages(ops.fromBytes(bytes, 'uint8', [count, size, size, 3]), device));
}

/** Pixels uint8 (B, P, P, 3) → float32 (B, 3, P, P) on `device`: /255, - mean, / std, in torchvision's order. */
export function normalizeImages(pixels: Tensor, device: Device): Tensor {
  return scope(() => {
    const constant = (values: readonly number[]) => ops.to(ops.float32(values, [1, 3, 1, 1]), { device });
    // Bytes are rearranged before they are four times as large, and nothing is copied after that.
    const channels = ops.contiguous(ops.permute(ops.to(pixels, { device }), [0, 3, 1, 2]));
    const images = ops.to(channels, { dtype: 'float32' });
    ops.divInPlace(images, 255);
    ops.subInPlace(images, constant(IMAGE_MEAN));
    ops.divInPlace(images, constant(IMAGE_STD));
    return images;
  });
}
