// The one place where image.node is loaded, on first use: arithmetic on pixels, without LibTorch.
import { createRequire } from 'node:module';
import { messageOf, UserError } from '../../errors.js';
import { ADDON_REMEDY } from '../../libtorch/addon-files.js';
import { demandAddon } from '../../libtorch/first-use.js';

/** Its exports as TypeScript sees them, in the order of native/exports.h. All pixels are 8-bit RGB. */
export interface ImageAddon {
  /** Pillow's bicubic resize of the source, or of `box` = [left, top, width, height] of it; see native/image/resize.cc. */
  resizeBicubic(
    source: Uint8Array,
    width: number,
    height: number,
    outWidth: number,
    outHeight: number,
    destination: Uint8Array,
    box?: readonly number[],
  ): void;
  /** Mirrors each row left to right, in place. */
  mirrorRows(pixels: Uint8Array, width: number, height: number): void;
  /** How often each value occurs: 256 counts of red, then of green, then of blue. */
  channelHistograms(pixels: Uint8Array): Uint32Array;
  /** Replaces each value, in place, by its channel's entry among 3 x 256. */
  lookUp(pixels: Uint8Array, tables: Uint8Array): void;
  /** OpenCV's bilinear affine warp; `matrix` maps the destination to the source. See native/image/augment.cc. */
  warpAffine(
    source: Uint8Array,
    destination: Uint8Array,
    width: number,
    height: number,
    matrix: readonly number[],
    fill: number,
  ): void;
}

let loaded: ImageAddon | undefined;

/** The addon. @throws UserError when it is not built or does not load */
export function imageAddon(): ImageAddon {
  loaded ??= load();
  return loaded;
}

function load(): ImageAddon {
  const { image } = demandAddon();
  try {
    return createRequire(import.meta.url)(image);
  } catch (error) {
    throw new UserError(`The native addon ${image} does not load: ${messageOf(error)}. ${ADDON_REMEDY}`, {
      cause: error,
    });
  }
}
