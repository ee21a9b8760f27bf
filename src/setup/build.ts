// Compiles the addon against a LibTorch, and knows whether the one that is there still fits its sources.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { withLock } from '../disk/lock-file.js';
import { messageOf, UserError } from '../errors.js';
import {
  addonFilesIn,
  type BuildRecord,
  buildFolder,
  findAddon,
  packageRoot,
  readBuildRecord,
  requiredFiles,
} from '../libtorch/addon-files.js';
import { cacheFolder } from '../libtorch/cache.js';
import { type Libtorch, readVersion, sameMinor } from '../libtorch/search.js';
import { demandBuildTools } from './packages.js';

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
 * Why the addon has to be built (again), or undefined if it fits its sources, the LibTorch that it was built against
 * is still there, and $LIBTORCH asks for no other version.
 */
export function buildDefect(root = packageRoot, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const addon = findAddon(root);
  if (addon === undefined) return 'the addon is not built';
  const record = readBuildRecord(addon);
  if (!record) return 'it is not recorded what the addon was built from';
  const version = readVersion(record.root);
  if (version === undefined) return `the LibTorch it was built against is gone from ${record.root}`;
  if (version !== record.version) return `LibTorch in ${record.root} is ${version} now, and was ${record.version}`;
  if (buildStamp({ root: record.root, build: version }, root) !== record.stamp) return 'its sources have changed';
  const wanted = env.LIBTORCH ? readVersion(env.LIBTORCH) : undefined;
  if (wanted !== undefined && !sameMinor(wanted, version))
    return `LIBTORCH is ${wanted}, and it was built for ${version}`;
  return undefined;
}

interface Outcome {
  code: number | null;
  log: string;
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
  const args = [program, command, ...variables, '-d', root, '-O', join(root, 'build')];
  // CMakeLists.txt runs `node`, which must be this one.
  const path = [dirname(process.execPath), env.PATH ?? ''].join(delimiter);
  return new Promise((settle, reject) => {
    const child = spawn(process.execPath, [...args, '-p', String(units)], {
      cwd: root,
      env: { ...env, PATH: path },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let log = '';
    const add = (text: string) => {
      log += text;
    };
    child.stdout.setEncoding('utf8').on('data', add);
    child.stderr.setEncoding('utf8').on('data', add);
    child.on('error', reject);
    child.on('close', (code) => settle({ code, log }));
  });
}

/** The lines of a build's log that tell why it failed: from the first error on, else the last ones. */
function tellingLines(log: string, count: number): string[] {
  const lines = log.trimEnd().split('\n');
  const first = lines.findIndex((line) => /\berror\b[: ]|CMake Error|Killed/i.test(line));
  return first >= 0 ? lines.slice(first, first + count) : lines.slice(-count);
}

/** Compiles everything; returns why NCCL's part was left away, or undefined where it is there. */
async function compile(
  libtorch: Libtorch,
  root: string,
  env: NodeJS.ProcessEnv,
  logFile: string,
): Promise<string | undefined> {
  let log = '';
  const attempt = async (nccl: boolean): Promise<Outcome> => {
    // `configure` takes over a changed LIBTORCH_ROOT, which `build` alone would not; a cache that was made elsewhere
    // (a moved checkout, another generator) makes it fail, and then everything is built anew.
    const configured = await cmakeJs('configure', libtorch, root, env, nccl);
    const built = await cmakeJs(configured.code === 0 ? 'build' : 'rebuild', libtorch, root, env, nccl);
    const outcome = { code: built.code, log: configured.log + built.log };
    log += outcome.log;
    return outcome;
  };
  let built = await attempt(true);
  let ncclDefect = existsSync(addonFilesIn(buildFolder(root)).nccl)
    ? undefined
    : 'this LibTorch has no headers of its CUDA part';
  if (built.code !== 0 && /\bnccl\.(cc|h)\b/.test(tellingLines(built.log, 12).join('\n'))) {
    ncclDefect = `it did not compile (${tellingLines(built.log, 1)[0]?.trim()}; the full log is ${logFile})`;
    built = await attempt(false);
  }
  mkdirSync(dirname(logFile), { recursive: true });
  writeFileSync(logFile, log);
  if (built.code === 0) return ncclDefect;
  const memory = /Killed|cannot allocate memory/i.test(log)
    ? ' (memory ran short: 1.2 GB a source file are needed)'
    : '';
  throw new UserError(
    `The addon could not be compiled against LibTorch ${libtorch.build} in ${libtorch.root}${memory}; the full log is ${logFile}; it says:\n` +
      tellingLines(built.log, 12)
        .map((line) => `  ${line}`)
        .join('\n'),
  );
}

/**
 * Builds build/Release/image.node, boot.node, torch.node and libblip_nccl.so (NCCL's part, omitted if it does not compile)
 * unless they are current, and records what they were built from.
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
      `${libtorch.root} has LibTorch's libraries without its headers (include/ATen/ATen.h): take a whole LibTorch, or unset LIBTORCH and run setup again.`,
    );
  }
  demandBuildTools(env);
  try {
    mkdirSync(paths.folder, { recursive: true });
    accessSync(paths.folder, constants.W_OK);
  } catch (error) {
    throw new UserError(
      `The addon's folder cannot be written: ${messageOf(error)}; run setup as the user who owns ${root}.`,
    );
  }
  const cache = cacheFolder(env);
  const id = createHash('sha256').update(root).digest('hex').slice(0, 12);
  const wait = (pid: number) => say(`Another setup (process ${pid}) is building the addon: waiting for it`);
  return withLock(join(cache, `build-${id}.lock`), wait, async () => {
    // The other process may have built just this.
    if (!options.force && isCurrent()) return false;
    say(`Compiling the addon against LibTorch ${libtorch.build} in ${libtorch.root} (a minute or two)`);
    // A libblip_nccl.so of an earlier build would not fit this one.
    for (const path of [paths.record, paths.nccl]) rmSync(path, { force: true });
    const ncclDefect = await compile(libtorch, root, env, join(cache, `build-${id}.log`));
    const lacking = requiredFiles(paths).filter((path) => !existsSync(path));
    if (lacking.length > 0)
      throw new UserError(`The build ended well, but left no ${lacking.join(', ')}: run setup --force.`);
    const record: BuildRecord = { root: libtorch.root, version: libtorch.build, stamp };
    if (ncclDefect !== undefined) record.ncclDefect = ncclDefect;
    writeFileSync(paths.record, `${JSON.stringify(record, undefined, 2)}\n`);
    return true;
  });
}
