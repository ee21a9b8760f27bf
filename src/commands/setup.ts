// `setup`: find or fetch LibTorch, build the addon against it, and see that it loads.
import { UserError } from '../errors.js';
import {
  addonFilesIn,
  buildFolder,
  findAddon,
  packageRoot,
  readBuildRecord,
  requiredFiles,
} from '../libtorch/addon-files.js';
import { bytesBelow, formatBytes, isYes } from '../libtorch/cache.js';
import { nvidiaDriver, type Variant, variantFor } from '../libtorch/driver.js';
import { describeSearch, inspectLibtorch, type Libtorch, searchLibtorch } from '../libtorch/search.js';
import { buildAddon } from '../setup/build.js';
import { fetchLibtorch } from '../setup/fetch-libtorch.js';
import { probeAddon } from '../setup/probe.js';

/** The command's options, named as on the command line. */
export interface SetupOptions {
  /** Have a LibTorch with CUDA, whether or not a driver is seen. */
  cuda?: boolean;
  /** Be content with one for CPU, whether or not a driver is seen. */
  cpu?: boolean;
  /** Folder of the LibTorch to use: stands for $LIBTORCH. */
  libtorch?: string;
  /** Download nothing. */
  offline?: boolean;
  /** SHA-256 that the official zip must have. */
  sha256?: string;
  /** Look for LibTorch anew, and build even if nothing has changed. */
  force?: boolean;
}

interface Output {
  write(text: string): unknown;
}

function checkOptions(options: SetupOptions): void {
  const wrong = (message: string) => new UserError(message, { exitCode: 2 });
  if (options.cuda && options.cpu)
    throw wrong('--cuda and --cpu exclude each other: give one, or none to go by the driver.');
  if (options.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(options.sha256)) {
    throw wrong(`--sha256 takes 64 hexadecimal digits, and ${JSON.stringify(options.sha256)} is something else.`);
  }
  if (options.libtorch === '') throw wrong('--libtorch takes the path of a LibTorch folder, and it is empty.');
}

/** Which variant to fetch, and the sentence that says why. */
function choose(options: SetupOptions): { variant: Variant; why: string } {
  const driver = nvidiaDriver();
  if (options.cpu) return { variant: 'cpu', why: '--cpu was given' };
  if (options.cuda) return { variant: variantFor(driver), why: '--cuda was given' };
  if (driver) return { variant: variantFor(driver), why: `${driver.seen}; --cpu takes the smaller build without CUDA` };
  return { variant: 'cpu', why: 'no NVIDIA driver was seen; --cuda takes the build with CUDA' };
}

/** Why nothing may be downloaded, or undefined. npm hands its `offline` setting on as npm_config_offline. */
function downloadBan(options: SetupOptions): string | undefined {
  if (options.offline) return '--offline';
  const name = ['npm_config_offline', 'BLIP_SKIP_DOWNLOAD'].find((variable) => isYes(process.env[variable]));
  return name === undefined ? undefined : `${name}=${process.env[name]}`;
}

async function obtain(options: SetupOptions, say: (line: string) => void): Promise<Libtorch> {
  // The LibTorch of the last build stays the one in use, until --force looks anew.
  const recorded = options.force ? undefined : readBuildRecord(findAddon())?.root;
  const search = searchLibtorch({ libtorch: options.libtorch, needCuda: options.cuda === true, recorded });
  if (search.libtorch) return search.libtorch;
  if (options.libtorch !== undefined || process.env.LIBTORCH) {
    const [first] = search.looked;
    const name = options.libtorch === undefined ? 'LIBTORCH' : '--libtorch';
    throw new UserError(
      `${name} is ${first?.place}: ${first?.outcome}; name a LibTorch folder (with lib/ and include/), or leave it out to have one found.`,
    );
  }
  const ban = downloadBan(options);
  const { variant, why } = choose(options);
  if (ban !== undefined) {
    throw new UserError(
      `No usable LibTorch was found, and ${ban} forbids a download: install PyTorch 2.11 for your Python, set LIBTORCH to a LibTorch folder, or run setup once with the network.\n${describeSearch(search)}`,
    );
  }
  say(describeSearch(search));
  say(`Taking LibTorch for ${variant === 'cpu' ? 'CPU' : `CUDA (${variant})`}: ${why}`);
  const root = await fetchLibtorch({ variant, sha256: options.sha256, say });
  const fetched = inspectLibtorch(root, 'cache');
  if (typeof fetched === 'string')
    throw new UserError(`LibTorch in ${root} cannot be used: ${fetched}; remove it and run setup again.`);
  return fetched;
}

const sources = { LIBTORCH: 'as told', build: 'as before', python: "Python's torch", cache: 'the user cache' } as const;

/**
 * Finds or fetches LibTorch, builds the addon, loads it once in a process of its own, and says where everything is.
 * @throws UserError with what failed and what to do
 */
export async function setupCommand(options: SetupOptions = {}, out: Output = process.stdout): Promise<void> {
  checkOptions(options);
  const say = (line: string) => void out.write(`${line}\n`);
  const libtorch = await obtain(options, say);
  const cuda = libtorch.hasCuda ? 'CPU and CUDA' : 'CPU only';
  say(`LibTorch ${libtorch.build} (${cuda}; ${sources[libtorch.source]}): ${libtorch.root}`);
  if (!libtorch.hasCuda && !options.cpu && nvidiaDriver()) {
    say('There is an NVIDIA driver, but this LibTorch has no CUDA: "setup --cuda" takes one that has.');
  } else if (libtorch.missingForCuda.length > 0) {
    say(`Its CUDA part will not open, for want of ${libtorch.missingForCuda.join(', ')}.`);
  }
  const built = await buildAddon(libtorch, { say, force: options.force === true });
  const probe = await probeAddon({ ...process.env, LIBTORCH: libtorch.root });
  if (!probe.ok) throw new UserError(`The addon is built but does not load: ${probe.error}`);
  const paths = addonFilesIn(buildFolder());
  const size = formatBytes([...requiredFiles(paths), paths.nccl].reduce((sum, path) => sum + bytesBelow(path), 0));
  say(`The addon ${built ? 'is built and loads' : 'was current, and loads'}: ${paths.folder} (${size})`);
  const ncclDefect = readBuildRecord(paths)?.ncclDefect;
  if (libtorch.hasCuda && ncclDefect !== undefined) {
    say(`It has no part for NCCL, so several GPUs cannot work together: ${ncclDefect}`);
  }
  const used =
    libtorch.source === 'cache' ? `, LibTorch in ${libtorch.root} (${formatBytes(bytesBelow(libtorch.root))})` : '';
  say(`Ready: ${packageRoot}${used}. "doctor" shows the whole picture.`);
}
