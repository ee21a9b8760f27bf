// Decoded pixels to what the vision encoder takes, on the device.
import { IMAGE_MEAN, IMAGE_STD } from '../data/normalization.js';
import * as ops from '../torch/ops.js';
import { type Device, scope, type Tensor } from '../torch/tensor.js';

/** Pixels uint8 (B, P, P, 3) → float32 (B, 3, P, P) on `device`: /255, - mean, / std, in torchvision's order. */
export function normalizeImages(pixels: Tensor, device: Device): Tensor {
  return scope(() => {
    const constant = (values: readonly number[]) => ops.to(ops.float32(values, [1, 3, 1, 1]), { device });
    const channels = ops.permute(ops.to(pixels, { device }), [0, 3, 1, 2]);
    const unit = ops.div(ops.contiguous(ops.to(channels, { dtype: 'float32' })), 255);
    return ops.div(ops.sub(unit, constant(IMAGE_MEAN)), constant(IMAGE_STD));
  });
}
