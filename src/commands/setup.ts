// `setup`: finds or fetches LibTorch, builds the addon against it, and checks that it loads.
import { bytesBelow, formatBytes } from '../disk/space.js';
import { at, UserError } from '../errors.js';
import {
  findAddon,
  packageRoot,
  placeFor,
  readBuildRecord,
  recordedLibtorch,
  recordLibtorch,
  requiredFiles,
} from '../libtorch/addon-files.js';
import { nvidiaDriver, type Variant, variantFor } from '../libtorch/driver.js';
import { onOwnLine, STOPPED } from '../libtorch/last-words.js';
import { demandPlatform } from '../libtorch/platform.js';
import {
  areMissing,
  describeSearch,
  inspectLibtorch,
  isYes,
  type Libtorch,
  searchLibtorch,
  targetVersion,
} from '../libtorch/search.js';
import type { ProgressStream } from '../logging/progress-bar.js';
import { fitted } from '../logging/terminal.js';
import { buildAddon } from '../setup/build.js';
import { fetchLibtorch } from '../setup/fetch-libtorch.js';
import { demandBuildTools } from '../setup/packages.js';
import { probeAddon } from '../setup/probe.js';

/** The command's options, named as on the command line. */
export interface SetupOptions {
  /** Use a LibTorch with CUDA, even if no driver is seen. */
  cuda?: boolean;
  /** Use the CPU build, even if a driver is seen. */
  cpu?: boolean;
  /** Folder of the LibTorch to use: replaces $LIBTORCH. */
  libtorch?: string;
  /** Download nothing. */
  offline?: boolean;
  /** Expected SHA-256 of the downloaded zip. */
  sha256?: string;
  /** Search for LibTorch again, and build even if nothing has changed. */
  force?: boolean;
}

function checkOptions(options: SetupOptions): void {
  const wrong = (message: string) => new UserError(message, { exitCode: 2 });
  if (options.cuda && options.cpu)
    throw wrong('--cuda and --cpu exclude each other. Give one, or neither to let the driver decide.');
  if (options.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(options.sha256)) {
    throw wrong(`--sha256 is ${JSON.stringify(options.sha256)}. Give 64 hexadecimal digits.`);
  }
  if (options.libtorch === '') throw wrong('--libtorch is empty. Give the path of a LibTorch folder.');
}

/** Which variant to fetch, and the sentence that says why. */
function choose(options: SetupOptions): { variant: Variant; why: string } {
  const driver = nvidiaDriver();
  if (options.cpu) return { variant: 'cpu', why: '--cpu was given' };
  if (options.cuda) return { variant: variantFor(driver), why: '--cuda was given' };
  if (driver)
    return { variant: variantFor(driver), why: `${driver.seen} (--cpu selects the smaller build without CUDA)` };
  return { variant: 'cpu', why: 'no NVIDIA driver was found (--cuda selects the build with CUDA)' };
}

/** Why nothing may be downloaded, or undefined. npm passes its `offline` setting on as npm_config_offline. */
function downloadBan(options: SetupOptions): string | undefined {
  if (options.offline) return '--offline';
  const name = ['npm_config_offline', 'BLIP_SKIP_DOWNLOAD'].find((variable) => isYes(process.env[variable]));
  return name === undefined ? undefined : `${name}=${process.env[name]}`;
}

/** What stops the build that LibTorch `version` takes here is the first line that a user sees. */
function demandTools(version: string): void {
  if (findAddon({ version }) === undefined) demandBuildTools();
}

async function obtain(options: SetupOptions, say: (line: string) => void): Promise<Libtorch> {
  // The LibTorch of the last build stays in use, until --force searches again.
  const recorded = options.force ? undefined : recordedLibtorch();
  const search = searchLibtorch({ libtorch: options.libtorch, needCuda: options.cuda === true, recorded });
  if (search.libtorch) return search.libtorch;
  if (options.libtorch !== undefined || process.env.LIBTORCH) {
    const { place, outcome } = at(search.looked, 0);
    const name = options.libtorch === undefined ? 'LIBTORCH' : '--libtorch';
    throw new UserError(
      `${name} is ${place}: ${outcome}. Name a LibTorch folder (with lib/ and include/), or omit it to have one found.`,
    );
  }
  const ban = downloadBan(options);
  const { variant, why } = choose(options);
  if (ban !== undefined) {
    throw new UserError(
      `No usable LibTorch was found, and ${ban} forbids a download. Install PyTorch 2.11 for your Python, set LIBTORCH to a LibTorch folder, or run setup once with a network.\n${describeSearch(search)}`,
    );
  }
  demandTools(targetVersion); // not after a download of gigabytes
  say(describeSearch(search));
  say(`Fetching LibTorch for ${variant === 'cpu' ? 'CPU' : `CUDA (${variant})`}: ${why}`);
  const root = await fetchLibtorch({ variant, sha256: options.sha256, say });
  const fetched = inspectLibtorch(root, 'cache');
  if (typeof fetched === 'string')
    throw new UserError(`LibTorch in ${root} cannot be used: ${fetched}. Remove it and run setup again.`);
  return fetched;
}

const sources = {
  LIBTORCH: 'as requested',
  build: 'as in the last build',
  python: "Python's torch",
  cache: 'the user cache',
} as const;

/**
 * Finds or fetches LibTorch, builds the addon, loads it once in a separate process, and says where everything is.
 * @throws UserError with what failed and what to do
 */
export async function setupCommand(options: SetupOptions = {}, out: ProgressStream = process.stdout): Promise<void> {
  checkOptions(options);
  // Downloads and compilers run beside the event loop, and there may be no addon yet that could say it.
  if (process.stderr.isTTY)
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => {
        process.stderr.write(onOwnLine(`${STOPPED.last(signal)} "setup" goes on from there.`));
        process.kill(process.pid, signal);
      });
  const say = (line: string) => void out.write(`${fitted(line, out)}\n`);
  demandPlatform();
  const libtorch = await obtain(options, say);
  demandTools(libtorch.build);
  const cuda = libtorch.hasCuda ? 'CPU and CUDA' : 'CPU only';
  say(`LibTorch ${libtorch.build} (${cuda}; ${sources[libtorch.source]}): ${libtorch.root}`);
  if (!libtorch.hasCuda && !options.cpu && nvidiaDriver()) {
    say('There is an NVIDIA driver, but this LibTorch has no CUDA. "setup --cuda" selects one that has.');
  } else if (libtorch.missingForCuda.length > 0) {
    say(`Its CUDA libraries cannot be opened: ${areMissing(libtorch.missingForCuda)}.`);
  }
  // A later search would not find these by itself, or not first.
  if (options.cuda || options.libtorch !== undefined) recordLibtorch(libtorch);
  else if (options.force) recordLibtorch(undefined);
  const built = await buildAddon(libtorch, { say, force: options.force === true });
  const probe = await probeAddon({ ...process.env, LIBTORCH: libtorch.root });
  if (!probe.ok) throw new UserError(`The addon was built but does not load: ${probe.error}`);
  const found = findAddon({ version: libtorch.build });
  const paths = found ?? placeFor(libtorch);
  const size = formatBytes([...requiredFiles(paths), paths.nccl].reduce((sum, path) => sum + bytesBelow(path), 0));
  const state = built ? 'was built' : found?.origin === 'package' ? 'came with the package' : 'was up to date';
  say(`The addon ${state} and loads: ${paths.folder} (${size})`);
  const ncclDefect = readBuildRecord(paths)?.ncclDefect;
  if (libtorch.hasCuda && ncclDefect !== undefined) {
    say(`It was built without NCCL, so several GPUs cannot work together: ${ncclDefect}.`);
  }
  const used =
    libtorch.source === 'cache' ? `, LibTorch in ${libtorch.root} (${formatBytes(bytesBelow(libtorch.root))})` : '';
  say(`Ready: ${packageRoot}${used}. "doctor" shows every part.`);
}
