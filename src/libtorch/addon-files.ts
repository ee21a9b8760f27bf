// Where the addon's files are, and what they were built from: the one answer that loading, setup and doctor share. A checkout
// has its addon in build/; an installed package has it in the user cache, built once a machine, or came with it.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder, madeCacheFolder } from './cache.js';
import { glibcVersion } from './platform.js';
import { type Libtorch, sameMinor } from './search.js';

/** Folder of package.json: the compiled file lies in dist/libtorch. */
export const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const NODE_API = 8;

export interface AddonFiles {
  folder: string;
  /** Resizes and augments images, without LibTorch. */
  image: string;
  /** Opens LibTorch's libraries. */
  boot: string;
  /** Everything that calls LibTorch. */
  torch: string;
  /** NCCL's part, for several GPUs; absent if it could not be compiled. */
  nccl: string;
  /** What the addon was built from: a BuildRecord. */
  record: string;
}

/** `here`: built in the package; `cache`: built on this machine; `package`: came with it; `named`: by BLIP_RETRIEVAL_PREBUILD. */
export type Origin = 'here' | 'cache' | 'package' | 'named';

export interface FoundAddon extends AddonFiles {
  origin: Origin;
}

/** What the addon was built from; it lies beside the addon as libtorch.json. */
export interface BuildRecord {
  /** LibTorch's folder at build time; absent in an addon that comes with the package. */
  root?: string;
  /** LibTorch's version with the local part (`2.11.0+cu130`). */
  version: string;
  /** Hash of the native sources, LibTorch's version and the Node-API version. */
  stamp: string;
  /** Why there is no libblip_nccl.so, which several GPUs need; absent if there is one. */
  ncclDefect?: string;
  /** The least glibc that an addon that comes with the package needs. */
  glibc?: string;
}

/** Which addon is looked for, where. */
export interface AddonQuery {
  root?: string;
  env?: NodeJS.ProcessEnv;
  /** LibTorch's version; without one, the addon of any will do, as for images. */
  version?: string | undefined;
}

/** The addon's files in `folder`, whether they exist or not. */
export function addonFilesIn(folder: string): AddonFiles {
  const path = (name: string) => join(folder, name);
  return {
    folder,
    image: path('image.node'),
    boot: path('boot.node'),
    torch: path('torch.node'),
    nccl: path('libblip_nccl.so'),
    record: path('libtorch.json'),
  };
}

/** Where a build in `root` itself leaves the addon. */
export function buildFolder(root = packageRoot): string {
  return join(root, 'build', 'Release');
}

/** Whether `root` is a package that was installed, not a checkout: it is not written to, and may be another user's. */
export function isInstalled(root = packageRoot): boolean {
  return !existsSync(join(root, 'src', 'cli.ts'));
}

let ownSources: string | undefined;

/** Hash of the sources that the addon is compiled from, and of what else makes one build differ from another. */
function sourceStamp(root: string): string {
  // An installed package does not change while it runs.
  const isFixed = root === packageRoot && isInstalled(root);
  if (isFixed && ownSources !== undefined) return ownSources;
  const hash = createHash('sha256').update(JSON.stringify([NODE_API, process.platform, process.arch]));
  const native = join(root, 'native');
  const names = existsSync(native) ? readdirSync(native, { recursive: true, encoding: 'utf8' }).sort() : [];
  const sources = names.filter((name) => /\.(cc|cpp|h|hpp|cu)$/.test(name)).map((name) => join('native', name));
  for (const name of ['CMakeLists.txt', ...sources]) {
    const path = join(root, name);
    if (existsSync(path)) hash.update(`\0${name}\0`).update(readFileSync(path));
  }
  const stamp = hash.digest('hex').slice(0, 16);
  if (isFixed) ownSources = stamp;
  return stamp;
}

/** Names one build: `8f14e45fceea167a-2.11.0+cu130`. `build` is LibTorch's version with the local part. */
export function buildStamp({ build }: { build: string }, root = packageRoot): string {
  return `${sourceStamp(root)}-${build}`;
}

/** Where the addons of this machine are, one folder for each stamp. */
function cachedAddons(env: NodeJS.ProcessEnv): string {
  return join(cacheFolder(env), 'addons');
}

/** Where `setup` puts the addon: into the package, if it is a checkout, else into the user cache. */
export function placeFor(libtorch: { build: string }, root = packageRoot, env = process.env): AddonFiles {
  return addonFilesIn(isInstalled(root) ? join(cachedAddons(env), buildStamp(libtorch, root)) : buildFolder(root));
}

function isComplete(files: AddonFiles): boolean {
  return requiredFiles(files).every((path) => existsSync(path));
}

/** Those without which nothing works. */
export const requiredFiles = ({ image, boot, torch }: AddonFiles): string[] => [image, boot, torch];

/** The addons of this package's sources in the user cache that serve `version`, the one built for just this first. */
function* inCache(root: string, env: NodeJS.ProcessEnv, version: string | undefined): Generator<AddonFiles> {
  const folder = cachedAddons(env);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return;
  }
  const prefix = `${sourceStamp(root)}-`;
  const serving = names
    .filter((name) => name.startsWith(prefix))
    .filter((name) => version === undefined || sameMinor(name.slice(prefix.length), version))
    .sort((a, b) => Number(b === prefix + version) - Number(a === prefix + version));
  for (const name of serving) yield addonFilesIn(join(folder, name));
}

/** Whether an addon that came with the package serves here: for LibTorch's version, and not made for a newer glibc. */
function serves(files: AddonFiles, version: string | undefined): boolean {
  const record = readBuildRecord(files);
  if (record === undefined || (version !== undefined && !sameMinor(record.version, version))) return false;
  const { glibc } = record;
  return glibc === undefined || (glibcVersion() ?? '').localeCompare(glibc, 'en', { numeric: true }) >= 0;
}

/**
 * The addon of the package in `root` for a version of LibTorch; undefined when there is none, or a part is missing. One that
 * was built in the package is the answer whatever it was built for.
 */
export function findAddon({ root = packageRoot, env = process.env, version }: AddonQuery = {}): FoundAddon | undefined {
  const built = addonFilesIn(buildFolder(root));
  if (!env.BLIP_RETRIEVAL_PREBUILD) {
    if (isComplete(built)) return { ...built, origin: 'here' };
    if (!isInstalled(root)) return undefined;
    for (const cached of inCache(root, env, version)) if (isComplete(cached)) return { ...cached, origin: 'cache' };
  }
  const resolver: { path(root: string): string } = createRequire(import.meta.url)('node-gyp-build');
  let folder: string;
  try {
    folder = dirname(resolver.path(root));
  } catch {
    return undefined;
  }
  const files = addonFilesIn(folder);
  if (folder === built.folder || !isComplete(files)) return undefined;
  if (env.BLIP_RETRIEVAL_PREBUILD) return { ...files, origin: 'named' };
  return serves(files, version) ? { ...files, origin: 'package' } : undefined;
}

/** What to do about an addon that is missing or does not load. */
export const ADDON_REMEDY =
  'Run "npx blip-retrieval setup" (in a checkout: "npm run build"); "doctor" shows the details.';

/** What the addon `files` was built from, or undefined if no record can be read. */
export function readBuildRecord(files: AddonFiles | undefined): BuildRecord | undefined {
  if (files === undefined) return undefined;
  try {
    // Checked by hand: loading zod would cost each loader thread 40 ms.
    const record: Partial<Record<keyof BuildRecord, unknown>> = JSON.parse(readFileSync(files.record, 'utf8'));
    const { root, version, stamp, ncclDefect, glibc } = record;
    if (typeof version !== 'string' || typeof stamp !== 'string') return undefined;
    if (root !== undefined && typeof root !== 'string') return undefined;
    return {
      ...(root !== undefined && { root }),
      version,
      stamp,
      ...(typeof ncclDefect === 'string' && { ncclDefect }),
      ...(typeof glibc === 'string' && { glibc }),
    };
  } catch {
    return undefined;
  }
}

// ---- the LibTorch that `setup` was told to use

/** The file that keeps it for an installed package. */
function choiceFile(root: string, env: NodeJS.ProcessEnv): string {
  return join(cacheFolder(env), `libtorch-of-${createHash('sha256').update(root).digest('hex').slice(0, 12)}`);
}

/** The LibTorch that this package's addon was built against in place, or that `setup` was told to use with it. */
export function recordedLibtorch(root = packageRoot, env = process.env): string | undefined {
  if (!isInstalled(root)) return readBuildRecord(addonFilesIn(buildFolder(root)))?.root;
  try {
    return readFileSync(choiceFile(root, env), 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}

/** Notes which LibTorch an installed package is to use; undefined: the one that is found. */
export function recordLibtorch(libtorch: Libtorch | undefined, root = packageRoot, env = process.env): void {
  if (!isInstalled(root)) return;
  if (libtorch === undefined) {
    rmSync(choiceFile(root, env), { force: true });
    return;
  }
  madeCacheFolder(env);
  writeFileSync(choiceFile(root, env), `${libtorch.root}\n`);
}
