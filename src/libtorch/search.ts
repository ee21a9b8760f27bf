// Finds LibTorch as tch-rs does, in $LIBTORCH, the torch of the Python in use or the user cache, and says where it looked.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { codeOf } from '../errors.js';
import { cacheFolder } from './cache.js';
import { ownMachine, readDynamic, unresolvedLibraries } from './elf.js';
import { askPythons } from './python.js';

/** The version that the addon is written for, and the first and last minor versions that are accepted. */
export const targetVersion = '2.11.0';
const oldestMinor = 9;
const newestMinor = 13;

export type LibtorchSource = 'LIBTORCH' | 'build' | 'python' | 'cache';

/** A LibTorch that can be opened: every library that its CPU part needs was found. */
export interface Libtorch {
  /** Folder with lib/ and include/ (site-packages/torch, or an unpacked libtorch). */
  root: string;
  lib: string;
  include: string;
  /** `2.11.0`; `build` has the local part too: `2.11.0+cu130`. */
  version: string;
  build: string;
  source: LibtorchSource;
  /** Whether libtorch_cuda.so is there; `missingForCuda` names the libraries that it needs and that are missing. */
  hasCuda: boolean;
  missingForCuda: string[];
  hasNccl: boolean;
}

/** One place that was searched, and the outcome, a clause: `used`, or why it was passed over. */
export interface Looked {
  source: LibtorchSource;
  place: string;
  outcome: string;
}

export interface Search {
  libtorch: Libtorch | undefined;
  looked: Looked[];
}

export interface SearchOptions {
  env?: NodeJS.ProcessEnv;
  /** Folder that the addon was built against: searched after $LIBTORCH, before Python. */
  recorded?: string | undefined;
  /** Replaces $LIBTORCH (the `--libtorch` option). */
  libtorch?: string | undefined;
  /** Whether to pass over a LibTorch without CUDA. */
  needCuda?: boolean;
}

/** Whether an environment variable says yes: set, and neither empty, `0`, `false` nor `no`. */
export function isYes(value: string | undefined): boolean {
  return value !== undefined && !['', '0', 'false', 'no'].includes(value.toLowerCase());
}

/** `2.11.0+cu130`, read from build-version, version.py or version.h, whichever the folder has; undefined if none does. */
export function readVersion(root: string): string | undefined {
  const read = (name: string): string => {
    try {
      return readFileSync(join(root, name), 'utf8');
    } catch {
      return '';
    }
  };
  const zip = read('build-version').trim();
  if (/^\d+\.\d+/.test(zip)) return zip;
  const python = /^__version__\s*=\s*['"](\d+\.\d+[^'"]*)['"]/m.exec(read('version.py'))?.[1];
  if (python !== undefined) return python;
  for (const header of ['include/torch/headeronly/version.h', 'include/torch/csrc/api/include/torch/version.h']) {
    const text = read(header);
    const parts = ['MAJOR', 'MINOR', 'PATCH'].map((part) => RegExp(`TORCH_VERSION_${part}\\s+(\\d+)`).exec(text)?.[1]);
    if (parts.every((part) => part !== undefined)) return parts.join('.');
  }
  return undefined;
}

/** Whether two LibTorch versions share an ABI, which holds only within a minor version. */
export function sameMinor(a: string, b: string): boolean {
  const minor = (version: string) => version.split('.').slice(0, 2).join('.');
  return minor(a) === minor(b);
}

function versionDefect(version: string, env: NodeJS.ProcessEnv): string | undefined {
  if (isYes(env.LIBTORCH_BYPASS_VERSION_CHECK)) return undefined;
  const [major, minor] = version.split('.').map(Number);
  if (major === 2 && minor !== undefined && minor >= oldestMinor && minor <= newestMinor) return undefined;
  return `version ${version} is outside 2.${oldestMinor} to 2.${newestMinor} (LIBTORCH_BYPASS_VERSION_CHECK=1 accepts it)`;
}

function hasNccl(lib: string, missing: string[]): boolean {
  const cuda = readDynamic(join(lib, 'libtorch_cuda.so'));
  if (!cuda) return false;
  const shared = cuda.needed.find((name) => name.startsWith('libnccl.so'));
  if (shared !== undefined) return !missing.includes(shared);
  // The official zips carry NCCL inside libtorch_cuda.so; a build without it has no header of its process group.
  return existsSync(join(dirname(lib), 'include/torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp'));
}

/** `libc.so is missing`, `liba.so, libb.so are missing`. */
export function areMissing(libraries: string[]): string {
  return `${libraries.join(', ')} ${libraries.length === 1 ? 'is' : 'are'} missing`;
}

/** Why a folder cannot be looked into, as a clause; undefined where it can be, or `mayBeAbsent` and is not there. */
function folderDefect(folder: string, mayBeAbsent = false): string | undefined {
  try {
    readdirSync(folder);
    return undefined;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EACCES' || code === 'EPERM')
      return `this user may not look into ${folder}. Change the permissions of it and of the folders above it`;
    if (mayBeAbsent) return undefined;
    return code === 'ENOTDIR' ? 'it is not a folder' : 'there is no such folder';
  }
}

/** The folder as a LibTorch, or a clause that says what is wrong with it, each missing file by name. */
export function inspectLibtorch(folder: string, source: LibtorchSource, env = process.env): Libtorch | string {
  const root = resolve(folder);
  const lib = join(root, 'lib');
  const barred = folderDefect(root) ?? folderDefect(lib, true);
  if (barred !== undefined) return barred;
  const absent = ['libc10.so', 'libtorch_cpu.so'].filter((name) => !existsSync(join(lib, name)));
  if (absent.length > 0) return `it has no lib/${absent.join(' and no lib/')}`;
  for (const name of ['libc10.so', 'libtorch_cpu.so']) {
    const dynamic = readDynamic(join(lib, name));
    if (!dynamic) return `lib/${name} is damaged or is not a shared library for this system`;
    if (dynamic.machine !== ownMachine) return `lib/${name} is for a processor other than ${process.arch}`;
  }
  const missing = unresolvedLibraries(join(lib, 'libtorch_cpu.so'), env);
  if (missing.length > 0) {
    const packages = missing.map(wheelOf).filter((name) => name !== undefined);
    const cure = packages.length > 0 ? `. Run pip install ${[...new Set(packages)].join(' ')}` : '';
    return `lib/libtorch_cpu.so cannot be opened: ${areMissing(missing)}${cure}`;
  }
  const build = readVersion(root);
  if (build === undefined) return 'its version is in neither build-version, version.py nor torch/version.h';
  const version = build.replace(/\+.*/, '');
  const defect = versionDefect(version, env);
  if (defect !== undefined) return defect;
  if (!readFileSync(join(lib, 'libc10.so')).includes('__cxx11'))
    return 'it was built with the C++ ABI from before C++11. Take a build with the cxx11 ABI';
  const hasCuda = existsSync(join(lib, 'libtorch_cuda.so'));
  const missingForCuda = hasCuda ? unresolvedLibraries(join(lib, 'libtorch_cuda.so'), env) : [];
  return {
    root,
    lib,
    include: join(root, 'include'),
    version,
    build,
    source,
    hasCuda,
    missingForCuda,
    hasNccl: hasCuda && hasNccl(lib, missingForCuda),
  };
}

/** The wheel with a library that `pip install --no-deps torch` omits. */
function wheelOf(library: string): string | undefined {
  const cuda = /^lib(cudart|cupti)\.so\.(\d+)$/.exec(library);
  if (!cuda) return undefined;
  const name = cuda[1] === 'cudart' ? 'nvidia-cuda-runtime' : 'nvidia-cuda-cupti';
  return Number(cuda[2]) >= 13 ? `'${name}==${cuda[2]}.*'` : `${name}-cu${cuda[2]}`;
}

/** Unpacked downloads in the cache, the target version and CUDA first. Each holds the LibTorch in torch/ or libtorch/. */
function cachedRoots(cache: string): string[] {
  let names: string[];
  try {
    names = readdirSync(cache).filter((name) => /^libtorch-\d+\.\d+\.\d+-\w+$/.test(name));
  } catch {
    return [];
  }
  const rank = (name: string) => (name.includes(`-${targetVersion}-`) ? 0 : 2) + (name.endsWith('-cpu') ? 1 : 0);
  names.sort((a, b) => rank(a) - rank(b) || (a < b ? 1 : -1));
  return names.flatMap((name) => ['torch', 'libtorch'].map((inner) => join(cache, name, inner))).filter(existsSync);
}

/**
 * Looks for LibTorch: `libtorch` or $LIBTORCH (which ends the search, found or not), the recorded folder, Python's
 * torch (unless LIBTORCH_USE_PYTORCH=0), the user cache. Never throws, downloads nothing.
 */
export function searchLibtorch(options: SearchOptions = {}): Search {
  const env = options.env ?? process.env;
  const looked: Looked[] = [];
  const note = (source: LibtorchSource, place: string, outcome: string) => void looked.push({ source, place, outcome });
  const attempt = (root: string, source: LibtorchSource): Libtorch | undefined => {
    const result = inspectLibtorch(root, source, env);
    const defect = typeof result === 'string' ? result : options.needCuda ? cudaDefect(result) : undefined;
    note(source, root, defect ?? 'used');
    return typeof result === 'string' || defect !== undefined ? undefined : result;
  };
  const fromPython = (): Libtorch | undefined => {
    const title = "Python's torch";
    const choice = env.LIBTORCH_USE_PYTORCH;
    if (choice !== undefined && !isYes(choice)) {
      note('python', title, `skipped: LIBTORCH_USE_PYTORCH=${choice}`);
      return undefined;
    }
    const pythons = askPythons(env);
    if (pythons.length === 0) note('python', title, 'no working Python on PATH');
    for (const { interpreter, version, torch } of pythons) {
      const found = torch === undefined ? undefined : attempt(torch, 'python');
      if (found) return found;
      if (torch === undefined) note('python', `${interpreter} (Python ${version})`, 'torch is not installed there');
    }
    return undefined;
  };
  const fromCache = (): Libtorch | undefined => {
    const cache = cacheFolder(env);
    const roots = cachedRoots(cache);
    if (roots.length === 0) note('cache', cache, 'nothing downloaded yet');
    for (const root of roots) {
      const found = attempt(root, 'cache');
      if (found) return found;
    }
    return undefined;
  };

  const explicit = options.libtorch ?? env.LIBTORCH;
  if (explicit) return { libtorch: attempt(explicit, 'LIBTORCH'), looked };
  note('LIBTORCH', '$LIBTORCH', 'not set');
  const recorded = options.recorded === undefined ? undefined : attempt(options.recorded, 'build');
  return { libtorch: recorded ?? fromPython() ?? fromCache(), looked };
}

function cudaDefect({ hasCuda, missingForCuda }: Libtorch): string | undefined {
  if (!hasCuda) return 'it has no CUDA';
  return missingForCuda.length > 0 ? `its CUDA libraries cannot be opened: ${areMissing(missingForCuda)}` : undefined;
}

const titles: Record<LibtorchSource, string> = {
  LIBTORCH: 'LIBTORCH',
  build: "the addon's build",
  python: 'Python',
  cache: 'the user cache',
};

/** Lines for a failure message: every place that was searched, in order, and why it was passed over. */
export function describeSearch(search: Search): string {
  const lines = search.looked.map(({ source, place, outcome }) => `  ${titles[source]}: ${place}: ${outcome}`);
  return ['LibTorch was searched for, in this order:', ...lines].join('\n');
}
