// What `doctor` finds out about this installation, as data: each part, and each defect with what to do about it.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism, homedir, totalmem } from 'node:os';
import { join } from 'node:path';
import { addonFilesIn, buildFolder, findAddon, packageRoot, readBuildRecord } from '../libtorch/addon-files.js';
import { bytesBelow, cacheFolder } from '../libtorch/cache.js';
import { nvidiaDriver } from '../libtorch/driver.js';
import { onPath } from '../libtorch/python.js';
import { type Libtorch, type Looked, sameMinor, searchLibtorch } from '../libtorch/search.js';
import { buildDefect } from './build.js';
import { buildToolDefect, glibcVersion } from './packages.js';
import { type AddonProbe, probeAddon, probeSharp, type SharpProbe } from './probe.js';

/** One thing that is wrong. `fatal`: nothing can be computed before it is mended. */
export interface Defect {
  what: string;
  todo: string;
  fatal: boolean;
}

export interface Gpu {
  name: string;
  memoryMiB: number;
  driver: string;
}

export interface Report {
  usable: boolean;
  node: { version: string; required: string; ok: boolean };
  platform: { system: string; glibc: string | null };
  addon: {
    path: string;
    built: boolean;
    outdated: string | null;
    loads: boolean;
    error: string | null;
    /** libblip_nccl.so, which several GPUs need, and why it is not there (null where that is not known, or it is). */
    nccl: boolean;
    ncclDefect: string | null;
  };
  libtorch: {
    found: boolean;
    root: string | null;
    version: string | null;
    source: Libtorch['source'] | null;
    cuda: boolean;
    nccl: boolean;
    missingForCuda: string[];
    looked: Looked[];
  };
  gpus: { driver: string | null; list: Gpu[]; usedByLibtorch: boolean };
  threads: { cores: number; omp: string | null; libtorch: number | null; memoryBytes: number };
  sharp: { version: string; vips: string; formats: string[] } | { error: string };
  caches: { name: string; path: string; bytes: number }[];
  torchrun: string | null;
  defects: Defect[];
}

const required = '20.17.0';

function nodeIsNew(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 20 || (major === 20 && minor >= 17);
}

/** GPUs as nvidia-smi lists them; none where it is absent or fails. */
function listGpus(env: NodeJS.ProcessEnv): Gpu[] {
  const program = onPath('nvidia-smi', env);
  if (program === undefined) return [];
  const query = ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader,nounits'];
  const child = spawnSync(program, query, { env, encoding: 'utf8', timeout: 20_000 });
  if (child.status !== 0) return [];
  const rows = child.stdout
    .trim()
    .split('\n')
    .map((line) => line.split(', '));
  return rows.flatMap(([name, memory, driver]) =>
    name !== undefined && memory !== undefined && driver !== undefined
      ? [{ name, memoryMiB: Number(memory), driver }]
      : [],
  );
}

function caches(env: NodeJS.ProcessEnv): Report['caches'] {
  const own = cacheFolder(env);
  const home = env.HOME || homedir();
  const hub = join(env.TORCH_HOME || join(env.XDG_CACHE_HOME || join(home, '.cache'), 'torch'), 'hub', 'checkpoints');
  return [
    { name: 'LibTorch and downloads', path: own, bytes: bytesBelow(own) },
    { name: 'checkpoints (shared with Python)', path: hub, bytes: bytesBelow(hub) },
  ];
}

function addonDefects(report: Omit<Report, 'defects' | 'usable'>, env: NodeJS.ProcessEnv, setup: string): Defect[] {
  const { addon, libtorch } = report;
  const defects: Defect[] = [];
  const tools = () => buildToolDefect(env);
  if (!libtorch.found) {
    defects.push({ what: 'no LibTorch was found', todo: `run "${setup}", which fetches it`, fatal: true });
  }
  if (!addon.built) {
    const missing = tools();
    const todo = missing === undefined ? `run "${setup}"` : `${missing} (${setup})`;
    defects.push({ what: 'the addon is not built', todo, fatal: true });
  } else if (!addon.loads) {
    defects.push({ what: `the addon does not load: ${addon.error}`, todo: `run "${setup} --force"`, fatal: true });
  } else if (addon.outdated !== null) {
    defects.push({ what: `the addon is out of date: ${addon.outdated}`, todo: `run "${setup}"`, fatal: false });
  }
  return defects;
}

/** What of a report bears on NCCL. */
export interface NcclParts {
  gpus: Pick<Report['gpus'], 'list'>;
  libtorch: Pick<Report['libtorch'], 'cuda'>;
  addon: Pick<Report['addon'], 'built' | 'nccl' | 'ncclDefect'>;
}

/** What several GPUs lack; one GPU does without NCCL. */
export function ncclDefects({ gpus, libtorch, addon }: NcclParts, setup: string): Defect[] {
  if (gpus.list.length < 2 || !libtorch.cuda || !addon.built || addon.nccl) return [];
  const why = addon.ncclDefect === null ? '' : `: ${addon.ncclDefect}`;
  const what = `the ${gpus.list.length} GPUs cannot work together: the addon has no part for NCCL${why}`;
  return [{ what, todo: `run "${setup} --cuda --force"; one process on one GPU works without`, fatal: false }];
}

function gpuDefects(report: Omit<Report, 'defects' | 'usable'>, setup: string): Defect[] {
  const { gpus, libtorch, addon } = report;
  if (gpus.driver === null || !libtorch.found || gpus.usedByLibtorch) return [];
  const todo = `run "${setup} --cuda"`;
  const what = 'the GPU is not used';
  if (!libtorch.cuda) return [{ what: `${what}: this LibTorch has no CUDA`, todo, fatal: false }];
  if (libtorch.missingForCuda.length > 0) {
    return [{ what: `${what}: LibTorch's CUDA part needs ${libtorch.missingForCuda.join(', ')}`, todo, fatal: false }];
  }
  if (!addon.loads) return [];
  const old = 'see that nvidia-smi runs and that the driver is new enough for this LibTorch (580 for CUDA 13)';
  return [{ what: `${what}: LibTorch's CUDA finds no device`, todo: old, fatal: false }];
}

function collectDefects(report: Omit<Report, 'defects' | 'usable'>, env: NodeJS.ProcessEnv): Defect[] {
  const setup = 'npx blip-retrieval setup';
  const defects: Defect[] = [];
  const { node, platform, sharp, threads } = report;
  if (!node.ok) {
    defects.push({ what: `Node ${node.version} is too old`, todo: `install Node ${required} or newer`, fatal: true });
  }
  if (platform.glibc === null) {
    defects.push({
      what: 'this system has no glibc',
      todo: 'use a glibc system (Debian, Ubuntu, Fedora)',
      fatal: true,
    });
  }
  defects.push(...addonDefects(report, env, setup), ...gpuDefects(report, setup), ...ncclDefects(report, setup));
  if ('error' in sharp) {
    const todo = 'run "npm install sharp" beside this package (not with --omit=optional or --no-optional)';
    defects.push({ what: `sharp does not load: ${sharp.error.split('\n')[0]}`, todo, fatal: true });
  } else if (!sharp.formats.includes('jpeg')) {
    defects.push({
      what: 'sharp was built without JPEG',
      todo: 'install the sharp of the package registry',
      fatal: true,
    });
  }
  if (threads.omp !== null && !/^[1-9]\d*$/.test(threads.omp)) {
    const what = `OMP_NUM_THREADS is ${JSON.stringify(threads.omp)}, no number of threads`;
    defects.push({ what, todo: 'set it to a whole number from 1, or unset it', fatal: false });
  }
  return defects;
}

/** Looks at everything; takes a second or two. Loads the addon and sharp in processes of their own. */
export async function examine(env: NodeJS.ProcessEnv = process.env): Promise<Report> {
  const found = findAddon();
  const paths = found ?? addonFilesIn(buildFolder());
  const record = readBuildRecord(found);
  const search = searchLibtorch({ env, recorded: record?.root });
  const { libtorch } = search;
  const built = found !== undefined;
  const unbuilt: AddonProbe = { ok: false, error: `image.node, boot.node or torch.node is missing in ${paths.folder}` };
  const [addon, sharp]: [AddonProbe, SharpProbe] = await Promise.all([
    built ? probeAddon(env) : unbuilt,
    probeSharp(env),
  ]);
  const driver = nvidiaDriver();
  const nccl = existsSync(paths.nccl);
  const mismatch =
    record && libtorch && !sameMinor(record.version, libtorch.version)
      ? `it was built for LibTorch ${record.version}, and ${libtorch.version} was found`
      : null;
  const parts: Omit<Report, 'defects' | 'usable'> = {
    node: { version: process.versions.node, required, ok: nodeIsNew(process.versions.node) },
    platform: { system: `${process.platform}-${process.arch}`, glibc: glibcVersion() ?? null },
    addon: {
      path: paths.torch,
      built,
      outdated: built ? (buildDefect(packageRoot, env) ?? mismatch) : null,
      loads: addon.ok,
      error: addon.ok ? null : addon.error,
      nccl,
      ncclDefect: nccl ? null : (record?.ncclDefect ?? null),
    },
    libtorch: {
      found: libtorch !== undefined,
      root: libtorch?.root ?? null,
      version: libtorch?.build ?? null,
      source: libtorch?.source ?? null,
      cuda: libtorch?.hasCuda ?? false,
      nccl: libtorch?.hasNccl ?? false,
      missingForCuda: libtorch?.missingForCuda ?? [],
      looked: search.looked,
    },
    gpus: { driver: driver?.seen ?? null, list: listGpus(env), usedByLibtorch: addon.ok && addon.devices.length > 0 },
    threads: {
      cores: availableParallelism(),
      omp: env.OMP_NUM_THREADS ?? null,
      libtorch: addon.ok ? addon.threads : null,
      memoryBytes: totalmem(),
    },
    sharp: sharp.ok ? { version: sharp.sharp, vips: sharp.vips, formats: sharp.formats } : { error: sharp.error },
    caches: caches(env),
    torchrun: onPath('torchrun', env) ?? null,
  };
  const defects = collectDefects(parts, env);
  return { usable: !defects.some((defect) => defect.fatal), ...parts, defects };
}
