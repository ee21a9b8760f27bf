// The one place where the addon is loaded: on first use.
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { demandPlatform } from '../libtorch/platform.js';
import { loadNative } from './load.js';
import type { Native } from './native-exports.js';

// At import: what comes later would fail with the linker's words, or sharp's.
demandPlatform();

let loaded: Native | undefined;

/** Under this name a thread tells the workers that it starts whether CUDA is wanted. */
const WANTS_CUDA = 'blip-retrieval: CUDA';

/**
 * The addon. The first call opens LibTorch's libraries (some 100 ms; with `cuda: false` without those for CUDA) and
 * throws a UserError when they cannot be found or opened. A worker follows the thread that started it: CUDA's kernels must
 * not register themselves while another thread computes.
 */
export function native(options: { cuda?: boolean } = {}): Native {
  if (loaded !== undefined) return loaded;
  const cuda = options.cuda ?? getEnvironmentData(WANTS_CUDA) !== false;
  loaded = loadNative({ cuda });
  setEnvironmentData(WANTS_CUDA, cuda);
  return loaded;
}
