// Opens LibTorch's libraries and then the addon, which is linked against them but holds no path to them.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { findAddon, packageRoot, readBuildRecord } from '../libtorch/addon-files.js';
import { nvidiaDriver } from '../libtorch/driver.js';
import { describeSearch, type Libtorch, sameMinor, searchLibtorch } from '../libtorch/search.js';
import type { Native } from './native-exports.js';

const require = createRequire(import.meta.url);

interface Boot {
  /** dlopen; null on success, else the dynamic linker's message. */
  open(path: string, global: boolean): string | null;
}

const cure = 'run "npx blip-retrieval setup" (in a checkout: "npm run build"), and "doctor" to see the whole picture';

function openLibrary(boot: Boot, libtorch: Libtorch, name: string): void {
  const path = join(libtorch.lib, name);
  const defect = boot.open(path, true);
  if (defect !== null) throw new UserError(`LibTorch's ${path} cannot be opened: ${defect}; ${cure}`);
}

/**
 * LibTorch's OpenMP threads wait for each other by spinning, up to milliseconds at each operator: on a machine that
 * runs anything else, most of the time goes there (a small model took 20 times as long beside other programs). A short
 * spin, then sleep, costs nothing on a machine of one's own. libgomp reads this once, when it is opened.
 */
function waitWithoutSpinning(env: NodeJS.ProcessEnv): void {
  if (env.GOMP_SPINCOUNT === undefined && env.OMP_WAIT_POLICY === undefined) env.GOMP_SPINCOUNT = '1000';
}

/**
 * Loads the addon. With `cuda`, libtorch_cuda is opened as well where it is there and an NVIDIA driver runs: it must be
 * opened before anything asks LibTorch for CUDA, which remembers its first answer for good.
 * Throws a UserError that says what was looked for, where, and what to do.
 */
export function loadNative(options: { cuda?: boolean } = {}): Native {
  const addon = findAddon();
  if (addon === undefined) throw new UserError(`the native addon is not built in ${packageRoot}; ${cure}`);
  const recorded = readBuildRecord(addon);
  const search = searchLibtorch({ recorded: recorded?.root });
  const { libtorch } = search;
  if (libtorch === undefined) throw new UserError(`LibTorch was not found; ${cure}\n${describeSearch(search)}`);
  if (recorded && !sameMinor(recorded.version, libtorch.version) && !process.env.LIBTORCH_BYPASS_VERSION_CHECK)
    throw new UserError(
      `the addon was built against LibTorch ${recorded.version} but ${libtorch.root} is ${libtorch.version}; ${cure}`,
    );
  waitWithoutSpinning(process.env);
  const boot: Boot = require(addon.boot);
  openLibrary(boot, libtorch, 'libc10.so');
  openLibrary(boot, libtorch, 'libtorch_cpu.so');
  const wantsCuda = options.cuda ?? true;
  if (wantsCuda && libtorch.hasCuda && libtorch.missingForCuda.length === 0 && nvidiaDriver() !== undefined)
    openLibrary(boot, libtorch, 'libtorch_cuda.so');
  try {
    return require(addon.torch);
  } catch (error) {
    throw new UserError(
      `the native addon ${addon.torch} does not load with LibTorch ${libtorch.version} of ${libtorch.root}: ${messageOf(error)}; ${cure}`,
      { cause: error },
    );
  }
}
