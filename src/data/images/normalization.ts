// Normalization of images, in float32 on the host; the device does the same on tensors.

/** Mean of each channel, of values from 0 to 1. */
export const IMAGE_MEAN = [0.48145466, 0.4578275, 0.40821073] as const;
/** Standard deviation of each channel, of values from 0 to 1. */
export const IMAGE_STD = [0.26862954, 0.26130258, 0.27577711] as const;

/** The mean as a pixel, which replaces those of an image that cannot be read. */
export const MEAN_PIXEL = IMAGE_MEAN.map((mean) => Math.round(mean * 255));

/**
 * torchvision's ToTensor and Normalize.
 * @param pixels (pixels, 3) uint8
 * @returns (3, pixels) float32
 */
export function normalizePixels(pixels: Uint8Array): Float32Array {
  const count = pixels.length / 3;
  const result = new Float32Array(pixels.length);
  for (const channel of [0, 1, 2] as const) {
    const mean = Math.fround(IMAGE_MEAN[channel]);
    const std = Math.fround(IMAGE_STD[channel]);
    for (let i = 0; i < count; i++) {
      const value = Math.fround((pixels[i * 3 + channel] as number) / 255);
      result[channel * count + i] = Math.fround(Math.fround(value - mean) / std);
    }
  }
  return result;
}
