// Opens LibTorch's libraries and then torch.node, which is linked against them but contains no path to them.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { ADDON_REMEDY, readBuildRecord } from '../libtorch/addon-files.js';
import { type Boot, loadBoot } from '../libtorch/boot.js';
import { DRIVER_LIBRARY, nvidiaDriver } from '../libtorch/driver.js';
import { demandAddon, demandLibtorch } from '../libtorch/first-use.js';
import { type Libtorch, sameMinor } from '../libtorch/search.js';
import type { Native } from './native-exports.js';

const require = createRequire(import.meta.url);

function openLibrary(boot: Boot, libtorch: Libtorch, name: string): void {
  const path = join(libtorch.lib, name);
  const defect = boot.open(path, true);
  if (defect !== null) throw new UserError(`LibTorch's ${path} cannot be opened: ${defect}. ${ADDON_REMEDY}`);
}

/**
 * LibTorch's OpenMP threads spin while they wait for each other, up to milliseconds at each operator: on a busy machine
 * most of the time goes there (a small model took 20 times as long beside other programs). Spinning briefly and then
 * sleeping costs nothing on an idle one. libgomp reads this once, when it is opened.
 */
function waitWithoutSpinning(env: NodeJS.ProcessEnv): void {
  if (env.GOMP_SPINCOUNT === undefined && env.OMP_WAIT_POLICY === undefined) env.GOMP_SPINCOUNT = '1000';
}

/** Kernels that oneDNN keeps. The keys of a step, forward and backward, are some 60 in float32 and 100 in bfloat16. */
const KERNELS_KEPT = '128';

/**
 * oneDNN generates kernels for each number of rows, and packed texts have another one at every step and image: those it keeps
 * are 0.3 to 0.5 MB each, and lie between the tensors, so that their gaps grow, too. By default it keeps 1,024, which a run
 * reaches after hours. A kernel that is made again is the same. oneDNN reads this at its first operator.
 */
function keepFewKernels(env: NodeJS.ProcessEnv): void {
  if (env.ONEDNN_PRIMITIVE_CACHE_CAPACITY === undefined && env.DNNL_PRIMITIVE_CACHE_CAPACITY === undefined)
    env.ONEDNN_PRIMITIVE_CACHE_CAPACITY = KERNELS_KEPT;
}

/** Whether there is a driver, by its traces or, at last, by the linker. Its library is opened where CUDA would miss it. */
function driverRuns(boot: Boot): boolean {
  const driver = nvidiaDriver();
  if (driver === undefined) return boot.open(DRIVER_LIBRARY, true) === null;
  if (driver.library !== undefined) boot.open(driver.library, true); // a failure is LibTorch's to tell
  return true;
}

/**
 * Packed batches have another size at every step and image, which leaves LibTorch's allocator with holes in segments of
 * fixed size. Segments that grow have none. LibTorch reads this once.
 */
function growSegments(env: NodeJS.ProcessEnv): void {
  if (env.PYTORCH_ALLOC_CONF === undefined && env.PYTORCH_CUDA_ALLOC_CONF === undefined)
    env.PYTORCH_ALLOC_CONF = 'expandable_segments:True';
}

/**
 * Loads torch.node. With `cuda`, libtorch_cuda is opened as well if it is there and an NVIDIA driver runs: that must
 * happen before anything asks LibTorch for CUDA, since it keeps its first answer.
 * @throws UserError that says what was looked for, where, and what to do
 */
export function loadNative(options: { cuda?: boolean } = {}): Native {
  const libtorch = demandLibtorch();
  const addon = demandAddon(libtorch);
  const recorded = readBuildRecord(addon);
  if (recorded && !sameMinor(recorded.version, libtorch.version) && !process.env.LIBTORCH_BYPASS_VERSION_CHECK)
    throw new UserError(
      `The addon was built against LibTorch ${recorded.version}, but ${libtorch.root} is ${libtorch.version}. ${ADDON_REMEDY}`,
    );
  waitWithoutSpinning(process.env);
  keepFewKernels(process.env);
  const boot = loadBoot(addon);
  openLibrary(boot, libtorch, 'libc10.so');
  openLibrary(boot, libtorch, 'libtorch_cpu.so');
  const wantsCuda = options.cuda ?? true;
  if (wantsCuda && libtorch.hasCuda && libtorch.missingForCuda.length === 0 && driverRuns(boot)) {
    growSegments(process.env);
    openLibrary(boot, libtorch, 'libtorch_cuda.so');
  }
  try {
    return require(addon.torch);
  } catch (error) {
    throw new UserError(
      `The native addon ${addon.torch} does not load with LibTorch ${libtorch.version} of ${libtorch.root}: ${messageOf(error)}. ${ADDON_REMEDY}`,
      { cause: error },
    );
  }
}
