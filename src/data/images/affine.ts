// The affine operations of RandAugment as matrices, and warping by them as OpenCV's warpAffine does.
import { imageAddon } from './image-addon.js';

/** Rows of the matrix: (x, y) moves to (m0 x + m1 y + m2, m3 x + m4 y + m5), pixels with y downwards. */
export type Matrix = readonly [number, number, number, number, number, number];

/** The grey of what lies outside the image. */
const BORDER = 128;

// The reference writes shears and shifts as float32 matrices, rotations as float64.
export const shearX = (factor: number): Matrix => [1, Math.fround(factor), 0, 0, 1, 0];
export const shearY = (factor: number): Matrix => [1, 0, 0, Math.fround(factor), 1, 0];
export const translateX = (pixels: number): Matrix => [1, 0, -Math.fround(pixels), 0, 1, 0];
export const translateY = (pixels: number): Matrix => [1, 0, 0, 0, 1, -Math.fround(pixels)];

/** Counter-clockwise about (width / 2, height / 2), which is half a pixel off the centre, as in the reference. */
export function rotation(degrees: number, width: number, height: number): Matrix {
  const angle = degrees * (Math.PI / 180);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [x, y] = [width / 2, height / 2];
  return [cos, sin, (1 - cos) * x - sin * y, -sin, cos, sin * x + (1 - cos) * y];
}

function inverse([a, b, x, c, d, y]: Matrix): Matrix {
  const factor = 1 / (a * d - b * c);
  const [p, q, r, s] = [d * factor, -b * factor, -c * factor, a * factor];
  return [p, q, -p * x - q * y, r, s, -r * x - s * y];
}

/** @returns (height, width, 3) uint8: the pixels moved by `matrix` */
export function warp(pixels: Uint8Array, width: number, height: number, matrix: Matrix): Uint8Array {
  const warped = new Uint8Array(pixels.length);
  imageAddon().warpAffine(pixels, warped, width, height, inverse(matrix), BORDER);
  return warped;
}
