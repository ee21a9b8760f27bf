// Opens LibTorch's libraries and then the addon, which is linked against them but holds no path to them.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf, UserError } from '../errors.js';
import { nvidiaDriver } from '../setup/driver.js';
import { describeSearch, type Libtorch, sameMinor, searchLibtorch } from '../setup/libtorch.js';
import type { Native } from './native.js';

const require = createRequire(import.meta.url);

/** The package's root folder: dist/torch/load.js is two folders below it. */
export const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

interface Boot {
  /** dlopen; null on success, else the dynamic linker's message. */
  open(path: string, global: boolean): string | null;
}

/** What `setup` recorded beside the addon: the LibTorch it was compiled against. */
interface Recorded {
  root: string;
  version: string;
}

/** The addon's folder (build/Release, or a prebuild), or undefined when it was not built. */
export function addonFolder(): string | undefined {
  const resolver: { path(root: string): string } = require('node-gyp-build');
  try {
    const folder = dirname(resolver.path(packageRoot));
    return existsSync(join(folder, 'torch.node')) && existsSync(join(folder, 'boot.node')) ? folder : undefined;
  } catch {
    return undefined;
  }
}

/** The LibTorch that the addon in `folder` was compiled against, as `setup` noted it. */
export function recordedLibtorch(folder: string): Recorded | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(join(folder, 'libtorch.json'), 'utf8'));
    if (typeof value !== 'object' || value === null || !('root' in value) || !('version' in value)) return undefined;
    return { root: String(value.root), version: String(value.version) };
  } catch {
    return undefined;
  }
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
  const folder = addonFolder();
  if (folder === undefined) throw new UserError(`the native addon is not built in ${packageRoot}; ${cure}`);
  const recorded = recordedLibtorch(folder);
  const search = searchLibtorch({ recorded: recorded?.root });
  const { libtorch } = search;
  if (libtorch === undefined) throw new UserError(`LibTorch was not found; ${cure}\n${describeSearch(search)}`);
  if (recorded && !sameMinor(recorded.version, libtorch.version) && !process.env.LIBTORCH_BYPASS_VERSION_CHECK)
    throw new UserError(
      `the addon was built against LibTorch ${recorded.version} but ${libtorch.root} is ${libtorch.version}; ${cure}`,
    );
  waitWithoutSpinning(process.env);
  const boot: Boot = require(join(folder, 'boot.node'));
  openLibrary(boot, libtorch, 'libc10.so');
  openLibrary(boot, libtorch, 'libtorch_cpu.so');
  const wantsCuda = options.cuda ?? true;
  if (wantsCuda && libtorch.hasCuda && libtorch.missingForCuda.length === 0 && nvidiaDriver() !== undefined)
    openLibrary(boot, libtorch, 'libtorch_cuda.so');
  try {
    return require(join(folder, 'torch.node'));
  } catch (error) {
    throw new UserError(
      `the native addon ${join(folder, 'torch.node')} does not load with LibTorch ${libtorch.version} of ${libtorch.root}: ${messageOf(error)}; ${cure}`,
      { cause: error },
    );
  }
}
