// Compiles the addon against a LibTorch, and tells whether the one that is there still fits its sources.
import { createHash } from 'node:crypto';
import { accessSync, constants, copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { makeFolder } from '../disk/folder.js';
import { withLock } from '../disk/lock-file.js';
import { removeStale, temporaryBeside } from '../disk/stale-files.js';
import { UserError } from '../errors.js';
import {
  type AddonFiles,
  addonFilesIn,
  type BuildRecord,
  buildStamp,
  type FoundAddon,
  findAddon,
  isInstalled,
  packageRoot,
  placeFor,
  readBuildRecord,
  requiredFiles,
} from '../libtorch/addon-files.js';
import { madeCacheFolder } from '../libtorch/cache.js';
import { type Libtorch, readVersion, sameMinor } from '../libtorch/search.js';
import { demandBuildTools } from './packages.js';
import { type Outcome, runProgram } from './run-program.js';

const memoryPerUnit = 1.2e9;

/**
 * Why the addon has to be built (again), as a clause; undefined if it fits its sources, the LibTorch that it was built
 * against is still there, and $LIBTORCH has no other version.
 */
export function buildDefect(root = packageRoot, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const wanted = env.LIBTORCH ? readVersion(env.LIBTORCH) : undefined;
  const addon = findAddon({ root, env, version: wanted });
  if (addon === undefined) return 'the addon has not been built';
  const record = readBuildRecord(addon);
  if (!record) return 'there is no record of what the addon was built from';
  // An addon of the cache serves any LibTorch of its version, wherever that is.
  const version = addon.origin === 'here' && record.root !== undefined ? readVersion(record.root) : record.version;
  if (version === undefined) return `the LibTorch that it was built against is gone from ${record.root}`;
  if (version !== record.version)
    return `it was built for LibTorch ${record.version}, and ${record.root} has ${version}`;
  if (buildStamp({ build: version }, root) !== record.stamp) return 'its sources have changed';
  if (wanted === undefined || sameMinor(wanted, version)) return undefined;
  return `it was built for LibTorch ${version}, and LIBTORCH has ${wanted}`;
}

/** Whether an addon that was found serves this LibTorch as well as one that is built for it would. */
function suits(addon: FoundAddon, libtorch: Libtorch, stamp: string): boolean {
  const record = readBuildRecord(addon);
  if (record?.stamp === stamp) return true;
  if (addon.origin === 'here' || record === undefined || !sameMinor(record.version, libtorch.build)) return false;
  return !libtorch.hasNccl || existsSync(addon.nccl);
}

/** What is compiled: the sources below `root`, in the build folder `folder`. */
interface Project {
  root: string;
  folder: string;
  env: NodeJS.ProcessEnv;
}

function cmakeJs(command: string, libtorch: Libtorch, { root, folder, env }: Project, nccl: boolean): Promise<Outcome> {
  const manifest = createRequire(import.meta.url).resolve('cmake-js/package.json');
  const program = join(dirname(manifest), 'bin', 'cmake-js');
  const units = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / memoryPerUnit)));
  const variables = [`--CDLIBTORCH_ROOT=${libtorch.root}`, `--CDBLIP_NCCL=${nccl ? 'ON' : 'OFF'}`];
  const args = [program, command, ...variables, '-d', root, '-O', folder, '-p', String(units)];
  // CMakeLists.txt runs `node`, which must be this one.
  const path = [dirname(process.execPath), env.PATH].join(delimiter);
  return runProgram(process.execPath, args, { cwd: root, env: { ...env, PATH: path } });
}

/** The lines of a build's log that show why it failed: from the first error on, else the last ones. */
function tellingLines(log: string, count: number): string[] {
  const lines = log.trimEnd().split('\n');
  const first = lines.findIndex((line) => /\berror\b[: ]|CMake Error|Killed/i.test(line));
  return first >= 0 ? lines.slice(first, first + count) : lines.slice(-count);
}

/** Compiles everything; returns why NCCL's part was omitted, or undefined where it is there. */
async function compile(libtorch: Libtorch, project: Project, logFile: string): Promise<string | undefined> {
  let log = '';
  const attempt = async (nccl: boolean) => {
    // `configure` takes over a changed LIBTORCH_ROOT, which `build` alone would not. With a cache that was made elsewhere
    // (a moved checkout, another generator) it fails, and then everything is built from scratch.
    const configured = await cmakeJs('configure', libtorch, project, nccl);
    const built = await cmakeJs(configured.code === 0 ? 'build' : 'rebuild', libtorch, project, nccl);
    log += configured.log + built.log;
    return { code: built.code, log: configured.log + built.log };
  };
  let built = await attempt(true);
  let ncclDefect = existsSync(addonFilesIn(join(project.folder, 'Release')).nccl)
    ? undefined
    : 'this LibTorch does not have the headers of its CUDA libraries';
  if (built.code !== 0 && /\bnccl\.(cc|h)\b/.test(tellingLines(built.log, 12).join('\n'))) {
    ncclDefect = `it did not compile (${tellingLines(built.log, 1).join('').trim()}; the full log is ${logFile})`;
    built = await attempt(false);
  }
  writeFileSync(logFile, log);
  if (built.code === 0) return ncclDefect;
  const memory = /Killed|cannot allocate memory/i.test(log)
    ? ' for lack of memory (it takes 1.2 GB per source file)'
    : '';
  const lines = tellingLines(built.log, 12).map((line) => `\n  ${line}`);
  throw new UserError(
    `The addon could not be compiled against LibTorch ${libtorch.build} in ${libtorch.root}${memory}. See the full log ${logFile}, which says:${lines.join('')}`,
  );
}

/** Compiles in `project.folder` and leaves the addon with its record in Release/ there. */
async function buildIn(project: Project, libtorch: Libtorch, stamp: string, logFile: string): Promise<AddonFiles> {
  const paths = addonFilesIn(join(project.folder, 'Release'));
  // A libblip_nccl.so of an earlier build would not fit this one.
  for (const path of [paths.record, paths.nccl]) rmSync(path, { force: true });
  const ncclDefect = await compile(libtorch, project, logFile);
  const lacking = requiredFiles(paths).filter((path) => !existsSync(path));
  if (lacking.length > 0)
    throw new UserError(`The build succeeded, but left no ${lacking.join(', ')}. Run setup --force.`);
  const record: BuildRecord = { root: libtorch.root, version: libtorch.build, stamp };
  if (ncclDefect !== undefined) record.ncclDefect = ncclDefect;
  writeFileSync(paths.record, `${JSON.stringify(record, undefined, 2)}\n`);
  return paths;
}

/** Builds in a folder of its own beside `target`, which is there afterwards completely or not at all. */
async function buildInCache(target: AddonFiles, build: (folder: string) => Promise<AddonFiles>): Promise<void> {
  await removeStale(target.folder); // what builds that were killed have left
  const aside = temporaryBeside(target.folder);
  try {
    const built = await build(join(aside, 'build'));
    const ready = join(aside, 'ready');
    mkdirSync(ready);
    const { nccl } = built;
    for (const path of [...requiredFiles(built), built.record, ...(existsSync(nccl) ? [nccl] : [])])
      copyFileSync(path, join(ready, basename(path)));
    rmSync(target.folder, { recursive: true, force: true });
    renameSync(ready, target.folder);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

function demandWritable(folder: string, root: string): void {
  try {
    makeFolder(folder);
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw new UserError(`The addon cannot be written to ${folder}. Run setup as the user who owns ${root}.`, {
      cause: error,
    });
  }
}

export interface BuildOptions {
  root?: string;
  env?: NodeJS.ProcessEnv;
  /** Build even if there is one that serves. */
  force?: boolean;
  say: (line: string) => void;
}

/**
 * Builds image.node, boot.node, torch.node and libblip_nccl.so (NCCL's part, omitted where it does not compile) unless there
 * are some that serve, and records what they were built from: in build/Release of a checkout, in the user cache for an
 * installed package.
 * @returns whether a build was needed
 * @throws UserError naming the missing tool, the missing headers, or the compiler's first error
 */
export async function buildAddon(libtorch: Libtorch, options: BuildOptions): Promise<boolean> {
  const { root = packageRoot, env = process.env, say } = options;
  const stamp = buildStamp(libtorch, root);
  const target = placeFor(libtorch, root, env);
  const isCurrent = () => {
    const addon = findAddon({ root, env, version: libtorch.build });
    return (
      addon !== undefined && suits(addon, libtorch, stamp) && buildDefect(root, { ...env, LIBTORCH: '' }) === undefined
    );
  };
  if (!options.force && isCurrent()) return false;
  if (!existsSync(join(libtorch.include, 'ATen', 'ATen.h'))) {
    throw new UserError(
      `${libtorch.root} has LibTorch's libraries without its headers (include/ATen/ATen.h). Use a complete LibTorch, or unset LIBTORCH and run setup again.`,
    );
  }
  demandBuildTools(env);
  const cache = madeCacheFolder(env);
  const installed = isInstalled(root);
  if (installed) madeCacheFolder(env, basename(dirname(target.folder)));
  else demandWritable(target.folder, root);
  // Packages with the same sources share one build; a checkout has its own.
  const id = installed ? stamp : createHash('sha256').update(root).digest('hex').slice(0, 12);
  const onWait = (pid: number) => say(`Waiting for another setup (process ${pid}), which is building the addon`);
  return withLock(join(cache, `build-${id}.lock`), { onWait }, async () => {
    // Another process may have built just this.
    if (!options.force && isCurrent()) return false;
    say(`Compiling the addon against LibTorch ${libtorch.build} in ${libtorch.root} (a minute or two)`);
    const logFile = join(cache, `build-${id}.log`);
    const build = (folder: string) => buildIn({ root, folder, env }, libtorch, stamp, logFile);
    if (installed) await buildInCache(target, build);
    else await build(join(root, 'build'));
    return true;
  });
}
