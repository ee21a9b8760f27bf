// The one place where the addon is loaded: on first use.
import { loadNative } from './load.js';
import type { Native } from './native-exports.js';

let loaded: Native | undefined;

/**
 * The addon. The first call opens LibTorch's libraries (some 100 ms; with `cuda: false` without those for CUDA) and
 * throws a UserError when they cannot be found or opened.
 */
export function native(options: { cuda?: boolean } = {}): Native {
  loaded ??= loadNative(options);
  return loaded;
}
