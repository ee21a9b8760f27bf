// Decoded pixels to what the vision encoder takes, on the device.
import { IMAGE_MEAN, IMAGE_STD } from '../data/images/normalization.js';
import * as ops from '../torch/ops.js';
import { type Device, scope, type Tensor } from '../torch/tensor.js';
import { upload } from '../torch/transfer.js';

/** Mean and standard deviation of each channel: small enough to travel anew with the pixels of every batch. */
const CONSTANTS = {
  mean: { data: Float32Array.from(IMAGE_MEAN), shape: [1, 3, 1, 1] },
  std: { data: Float32Array.from(IMAGE_STD), shape: [1, 3, 1, 1] },
};

/** pixels uint8 (B, P, P, 3), mean and std (1, 3, 1, 1), all on one device → float32 (B, 3, P, P). */
function normalized(pixels: Tensor, mean: Tensor, std: Tensor): Tensor {
  // Bytes are rearranged before they are four times as large, and nothing is copied after that.
  const channels = ops.contiguous(ops.permute(pixels, [0, 3, 1, 2]));
  const images = ops.to(channels, { dtype: 'float32' });
  ops.divInPlace(images, 255);
  ops.subInPlace(images, mean);
  ops.divInPlace(images, std);
  return images;
}

/**
 * The bytes of `count` images of `size` pixels a side, as the loader gives them, made ready for the vision encoder. They
 * are copied before this returns; the device is not waited for.
 */
export function imagesFromBytes(bytes: Uint8Array, count: number, size: number, device: Device): Tensor {
  return scope(() => {
    const sent = upload(device, { pixels: { data: bytes, shape: [count, size, size, 3] }, ...CONSTANTS });
    return normalized(sent.pixels, sent.mean, sent.std);
  });
}

/** Pixels uint8 (B, P, P, 3) → float32 (B, 3, P, P) on `device`: /255, - mean, / std, in torchvision's order. */
export function normalizeImages(pixels: Tensor, device: Device): Tensor {
  return scope(() => {
    const { mean, std } = upload(device, CONSTANTS);
    return normalized(ops.to(pixels, { device }), mean, std);
  });
}
