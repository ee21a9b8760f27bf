// Compiles the addon against a LibTorch, and tells whether the one that is there still fits its sources.
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { makeFolder } from '../disk/folder.js';
import { withLock } from '../disk/lock-file.js';
import { UserError } from '../errors.js';
import {
  addonFilesIn,
  type BuildRecord,
  buildFolder,
  findAddon,
  packageRoot,
  readBuildRecord,
  requiredFiles,
} from '../libtorch/addon-files.js';
import { madeCacheFolder } from '../libtorch/cache.js';
import { type Libtorch, readVersion, sameMinor } from '../libtorch/search.js';
import { demandBuildTools } from './packages.js';
import { type Outcome, runProgram } from './run-program.js';

const nodeApi = 8;
const memoryPerUnit = 1.2e9;

/** Hash of everything that makes one build differ from another. */
export function buildStamp(libtorch: { root: string; build: string }, root = packageRoot): string {
  const hash = createHash('sha256').update(JSON.stringify([libtorch.root, libtorch.build, nodeApi, process.arch]));
  const native = join(root, 'native');
  const names = existsSync(native) ? readdirSync(native, { recursive: true, encoding: 'utf8' }).sort() : [];
  const sources = names.filter((name) => /\.(cc|cpp|h|hpp|cu)$/.test(name)).map((name) => join('native', name));
  for (const name of ['CMakeLists.txt', ...sources]) {
    const path = join(root, name);
    if (existsSync(path)) hash.update(`\0${name}\0`).update(readFileSync(path));
  }
  return hash.digest('hex');
}

/**
 * Why the addon has to be built (again), as a clause; undefined if it fits its sources, the LibTorch that it was built
 * against is still there, and $LIBTORCH has no other version.
 */
export function buildDefect(root = packageRoot, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const addon = findAddon(root);
  if (addon === undefined) return 'the addon has not been built';
  const record = readBuildRecord(addon);
  if (!record) return 'there is no record of what the addon was built from';
  const version = readVersion(record.root);
  if (version === undefined) return `the LibTorch that it was built against is gone from ${record.root}`;
  if (version !== record.version)
    return `it was built for LibTorch ${record.version}, and ${record.root} has ${version}`;
  if (buildStamp({ root: record.root, build: version }, root) !== record.stamp) return 'its sources have changed';
  const wanted = env.LIBTORCH ? readVersion(env.LIBTORCH) : undefined;
  if (wanted === undefined || sameMinor(wanted, version)) return undefined;
  return `it was built for LibTorch ${version}, and LIBTORCH has ${wanted}`;
}

function cmakeJs(
  command: string,
  libtorch: Libtorch,
  root: string,
  env: NodeJS.ProcessEnv,
  nccl: boolean,
): Promise<Outcome> {
  const manifest = createRequire(import.meta.url).resolve('cmake-js/package.json');
  const program = join(dirname(manifest), 'bin', 'cmake-js');
  const units = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / memoryPerUnit)));
  const variables = [`--CDLIBTORCH_ROOT=${libtorch.root}`, `--CDBLIP_NCCL=${nccl ? 'ON' : 'OFF'}`];
  const args = [program, command, ...variables, '-d', root, '-O', join(root, 'build'), '-p', String(units)];
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
async function compile(
  libtorch: Libtorch,
  root: string,
  env: NodeJS.ProcessEnv,
  logFile: string,
): Promise<string | undefined> {
  let log = '';
  const attempt = async (nccl: boolean) => {
    // `configure` takes over a changed LIBTORCH_ROOT, which `build` alone would not. With a cache that was made elsewhere
    // (a moved checkout, another generator) it fails, and then everything is built from scratch.
    const configured = await cmakeJs('configure', libtorch, root, env, nccl);
    const built = await cmakeJs(configured.code === 0 ? 'build' : 'rebuild', libtorch, root, env, nccl);
    log += configured.log + built.log;
    return { code: built.code, log: configured.log + built.log };
  };
  let built = await attempt(true);
  let ncclDefect = existsSync(addonFilesIn(buildFolder(root)).nccl)
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

/**
 * Builds build/Release/image.node, boot.node, torch.node and libblip_nccl.so (NCCL's part, omitted where it does not compile)
 * unless they are up to date, and records what they were built from.
 * @returns whether a build was needed
 * @throws UserError naming the missing tool, the missing headers, or the compiler's first error
 */
export async function buildAddon(
  libtorch: Libtorch,
  options: { root?: string; env?: NodeJS.ProcessEnv; force?: boolean; say: (line: string) => void },
): Promise<boolean> {
  const { root = packageRoot, env = process.env, say } = options;
  const stamp = buildStamp(libtorch, root);
  const paths = addonFilesIn(buildFolder(root));
  const isCurrent = () => readBuildRecord(paths)?.stamp === stamp && buildDefect(root, {}) === undefined;
  if (!options.force && isCurrent()) return false;
  if (!existsSync(join(libtorch.include, 'ATen', 'ATen.h'))) {
    throw new UserError(
      `${libtorch.root} has LibTorch's libraries without its headers (include/ATen/ATen.h). Use a complete LibTorch, or unset LIBTORCH and run setup again.`,
    );
  }
  demandBuildTools(env);
  try {
    makeFolder(paths.folder);
    accessSync(paths.folder, constants.W_OK);
  } catch (error) {
    throw new UserError(`The addon cannot be written to ${paths.folder}. Run setup as the user who owns ${root}.`, {
      cause: error,
    });
  }
  const cache = madeCacheFolder(env);
  const id = createHash('sha256').update(root).digest('hex').slice(0, 12);
  const onWait = (pid: number) => say(`Waiting for another setup (process ${pid}), which is building the addon`);
  return withLock(join(cache, `build-${id}.lock`), { onWait }, async () => {
    // Another process may have built just this.
    if (!options.force && isCurrent()) return false;
    say(`Compiling the addon against LibTorch ${libtorch.build} in ${libtorch.root} (a minute or two)`);
    // A libblip_nccl.so of an earlier build would not fit this one.
    for (const path of [paths.record, paths.nccl]) rmSync(path, { force: true });
    const ncclDefect = await compile(libtorch, root, env, join(cache, `build-${id}.log`));
    const lacking = requiredFiles(paths).filter((path) => !existsSync(path));
    if (lacking.length > 0)
      throw new UserError(`The build succeeded, but left no ${lacking.join(', ')}. Run setup --force.`);
    const record: BuildRecord = { root: libtorch.root, version: libtorch.build, stamp };
    if (ncclDefect !== undefined) record.ncclDefect = ncclDefect;
    writeFileSync(paths.record, `${JSON.stringify(record, undefined, 2)}\n`);
    return true;
  });
}
