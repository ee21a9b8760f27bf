// Finds LibTorch as tch-rs does: $LIBTORCH, the torch of the Python in use, the user cache; and can say where it looked.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { cacheFolder, isYes } from './cache.js';
import { ownMachine, readDynamic, unresolvedLibraries } from './elf.js';
import { askPythons } from './python.js';

/** The version that the addon is written for, and the first and last minor versions that are accepted. */
export const targetVersion = '2.11.0';
export const oldestMinor = 9;
export const newestMinor = 13;

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
  /** libtorch_cuda.so is there; `missingForCuda` names the libraries that opening it would lack. */
  hasCuda: boolean;
  missingForCuda: string[];
  hasNccl: boolean;
  /** Built with the C++11 ABI of std::string, which the addon uses; always true of what a search returns. */
  cxx11: boolean;
}

/** One place that was looked at, and what came of it: `used`, or why it was passed over. */
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
  /** Folder that the addon was built against: looked at after $LIBTORCH, before Python. */
  recorded?: string | undefined;
  /** Stands for $LIBTORCH (the `--libtorch` option). */
  libtorch?: string | undefined;
  /** Pass over what has no CUDA. */
  needCuda?: boolean;
}

/** `2.11.0+cu130` of build-version, version.py or version.h, whichever the folder has; undefined if none says. */
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

/** Whether two LibTorch versions share an ABI: it holds within a minor version only. */
export function sameMinor(a: string, b: string): boolean {
  const minor = (version: string) => version.split('.').slice(0, 2).join('.');
  return minor(a) === minor(b);
}

function versionDefect(version: string, env: NodeJS.ProcessEnv): string | undefined {
  if (isYes(env.LIBTORCH_BYPASS_VERSION_CHECK)) return undefined;
  const [major, minor] = version.split('.').map(Number);
  if (major === 2 && minor !== undefined && minor >= oldestMinor && minor <= newestMinor) return undefined;
  return (
    `version ${version} is outside 2.${oldestMinor} to 2.${newestMinor}` +
    ' (LIBTORCH_BYPASS_VERSION_CHECK=1 tries it all the same)'
  );
}

function hasNccl(lib: string, missing: string[]): boolean {
  const cuda = readDynamic(join(lib, 'libtorch_cuda.so'));
  if (!cuda) return false;
  const shared = cuda.needed.find((name) => name.startsWith('libnccl.so'));
  if (shared !== undefined) return !missing.includes(shared);
  // The official zips carry NCCL inside libtorch_cuda.so; a build without it has no header of its process group.
  return existsSync(join(dirname(lib), 'include/torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp'));
}

/** The folder as a LibTorch, or a text that says what is wrong with it, each missing file by name. */
export function inspectLibtorch(folder: string, source: LibtorchSource, env = process.env): Libtorch | string {
  const root = resolve(folder);
  const lib = join(root, 'lib');
  if (!existsSync(root)) return 'there is no such folder';
  const absent = ['libc10.so', 'libtorch_cpu.so'].filter((name) => !existsSync(join(lib, name)));
  if (absent.length > 0) return `lib/${absent.join(' and lib/')} not found in it`;
  for (const name of ['libc10.so', 'libtorch_cpu.so']) {
    const dynamic = readDynamic(join(lib, name));
    if (!dynamic) return `lib/${name} is damaged or no shared library for this system`;
    if (dynamic.machine !== ownMachine) return `lib/${name} is for another processor than ${process.arch}`;
  }
  const missing = unresolvedLibraries(join(lib, 'libtorch_cpu.so'), env);
  if (missing.length > 0) {
    const packages = missing.map(wheelOf).filter((name) => name !== undefined);
    const cure = packages.length > 0 ? `: pip install ${[...new Set(packages)].join(' ')} adds them` : '';
    return `lib/libtorch_cpu.so needs ${missing.join(', ')}, not found${cure}`;
  }
  const build = readVersion(root);
  if (build === undefined) return 'neither build-version, version.py nor torch/version.h tells its version';
  const version = build.split('+')[0] ?? build;
  const defect = versionDefect(version, env);
  if (defect !== undefined) return defect;
  const cxx11 = readFileSync(join(lib, 'libc10.so')).includes('__cxx11');
  if (!cxx11) return 'it was built with the C++ ABI of before C++11; take a build with the cxx11 ABI';
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
    cxx11,
  };
}

/** The wheel that brings a library which `pip install --no-deps torch` leaves out. */
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
 * torch (unless LIBTORCH_USE_PYTORCH=0), the user cache. Never throws, and downloads nothing.
 */
export function searchLibtorch(options: SearchOptions = {}): Search {
  const env = options.env ?? process.env;
  const looked: Looked[] = [];
  const attempt = (root: string, source: LibtorchSource, place: string): Libtorch | undefined => {
    const result = inspectLibtorch(root, source, env);
    let outcome = typeof result === 'string' ? result : 'used';
    if (typeof result !== 'string' && options.needCuda) {
      if (!result.hasCuda) outcome = 'it has no CUDA';
      else if (result.missingForCuda.length > 0)
        outcome = `its CUDA part needs ${result.missingForCuda.join(', ')}, not found`;
    }
    looked.push({ source, place, outcome });
    return typeof result !== 'string' && outcome === 'used' ? result : undefined;
  };

  const explicit = options.libtorch ?? env.LIBTORCH;
  if (explicit) return { libtorch: attempt(explicit, 'LIBTORCH', explicit), looked };
  looked.push({ source: 'LIBTORCH', place: '$LIBTORCH', outcome: 'not set' });

  if (options.recorded !== undefined) {
    const found = attempt(options.recorded, 'build', options.recorded);
    if (found) return { libtorch: found, looked };
  }

  if (env.LIBTORCH_USE_PYTORCH !== undefined && !isYes(env.LIBTORCH_USE_PYTORCH)) {
    looked.push({
      source: 'python',
      place: "Python's torch",
      outcome: `skipped: LIBTORCH_USE_PYTORCH=${env.LIBTORCH_USE_PYTORCH}`,
    });
  } else {
    const pythons = askPythons(env);
    if (pythons.length === 0)
      looked.push({ source: 'python', place: "Python's torch", outcome: 'no Python on PATH that runs' });
    for (const python of pythons) {
      const name = `${python.interpreter} (Python ${python.version})`;
      if (python.torch === undefined) {
        looked.push({ source: 'python', place: name, outcome: 'torch is not installed there' });
        continue;
      }
      const found = attempt(python.torch, 'python', python.torch);
      if (found) return { libtorch: found, looked };
    }
  }

  const cache = cacheFolder(env);
  const roots = cachedRoots(cache);
  if (roots.length === 0) looked.push({ source: 'cache', place: cache, outcome: 'nothing downloaded yet' });
  for (const root of roots) {
    const found = attempt(root, 'cache', root);
    if (found) return { libtorch: found, looked };
  }
  return { libtorch: undefined, looked };
}

/** The LibTorch to use, or undefined; `searchLibtorch` also says where was looked. */
export function findLibtorchSync(options: SearchOptions = {}): Libtorch | undefined {
  return searchLibtorch(options).libtorch;
}

const titles: Record<LibtorchSource, string> = {
  LIBTORCH: 'LIBTORCH',
  build: "the addon's build",
  python: 'Python',
  cache: 'the user cache',
};

/** Lines for a failure message: every place that was looked at, in order, and why it was passed over. */
export function describeSearch(search: Search): string {
  const lines = search.looked.map(({ source, place, outcome }) => `  ${titles[source]}: ${place}: ${outcome}`);
  return ['LibTorch was looked for, in this order:', ...lines].join('\n');
}
