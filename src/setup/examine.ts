// What `doctor` finds out about this installation, as data: each part, and each defect with its remedy.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { bytesBelow } from '../disk/space.js';
import { hubFolder } from '../download/pretrained-file.js';
import {
  addonFilesIn,
  buildFolder,
  findAddon,
  type Origin,
  packageRoot,
  placeFor,
  readBuildRecord,
  recordedLibtorch,
} from '../libtorch/addon-files.js';
import { cacheFolder } from '../libtorch/cache.js';
import { nvidiaDriver } from '../libtorch/driver.js';
import { glibcVersion, platformDefect } from '../libtorch/platform.js';
import { onPath } from '../libtorch/python.js';
import { areMissing, type Libtorch, type Looked, sameMinor, searchLibtorch } from '../libtorch/search.js';
import { buildDefect } from './build.js';
import { buildToolDefect } from './packages.js';
import { probeAddon, probeSharp } from './probe.js';

/** One thing that is wrong, and the remedy, as clauses. `fatal`: nothing can be computed until it is fixed. */
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
    /** Where it is from: built here, in the cache, or shipped with the package; null where there is none. */
    origin: Origin | null;
    built: boolean;
    outdated: string | null;
    loads: boolean;
    error: string | null;
    /** Whether there is a libblip_nccl.so, which several GPUs need, and why not (null where that is not known). */
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
const setup = 'npx blip-retrieval setup';

/** A report before its defects have been collected. */
type Findings = Omit<Report, 'defects' | 'usable'>;

function isAtLeast(version: string, least: string): boolean {
  return version.localeCompare(least, 'en', { numeric: true }) >= 0;
}

/** GPUs as nvidia-smi lists them; none where it is absent or fails. */
function listGpus(env: NodeJS.ProcessEnv): Gpu[] {
  const program = onPath('nvidia-smi', env);
  if (program === undefined) return [];
  const query = ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader,nounits'];
  const child = spawnSync(program, query, { env, encoding: 'utf8', timeout: 20_000 });
  if (child.status !== 0) return [];
  return child.stdout.split('\n').flatMap((line) => {
    const [name, memory, driver] = line.split(', ');
    return name === undefined || memory === undefined || driver === undefined
      ? []
      : [{ name, memoryMiB: Number(memory), driver }];
  });
}

/** The findings that NCCL depends on. */
export interface NcclParts {
  gpus: Pick<Report['gpus'], 'list'>;
  libtorch: Pick<Report['libtorch'], 'cuda'>;
  addon: Pick<Report['addon'], 'built' | 'nccl' | 'ncclDefect'>;
}

/** What several GPUs lack; one GPU does not need NCCL. */
export function ncclDefects({ gpus, libtorch, addon }: NcclParts): Defect[] {
  if (gpus.list.length < 2 || !libtorch.cuda || !addon.built || addon.nccl) return [];
  const why = addon.ncclDefect === null ? '' : `: ${addon.ncclDefect}`;
  const what = `the ${gpus.list.length} GPUs cannot work together: the addon was built without NCCL${why}`;
  return [{ what, todo: `run "${setup} --cuda --force"; one process on one GPU works without it`, fatal: false }];
}

function gpuDefects({ gpus, libtorch, addon }: Findings): Defect[] {
  if (gpus.driver === null || !libtorch.found || gpus.usedByLibtorch) return [];
  const unused = (why: string, todo: string): Defect[] => [{ what: `the GPU is not used: ${why}`, todo, fatal: false }];
  if (!libtorch.cuda) return unused('this LibTorch has no CUDA', `run "${setup} --cuda"`);
  if (libtorch.missingForCuda.length > 0) {
    const missing = areMissing(libtorch.missingForCuda);
    return unused(`LibTorch's CUDA libraries cannot be opened: ${missing}`, `run "${setup} --cuda"`);
  }
  if (!addon.loads) return [];
  const todo = 'check that nvidia-smi runs and that the driver is new enough for this LibTorch (580 for CUDA 13)';
  return unused('LibTorch finds no CUDA device', todo);
}

function collectDefects(findings: Findings, env: NodeJS.ProcessEnv): Defect[] {
  const { node, libtorch, addon, sharp, threads } = findings;
  const defects: Defect[] = [];
  const add = (what: string, todo: string, fatal: boolean) => void defects.push({ what, todo, fatal });
  if (!node.ok) add(`Node ${node.version} is too old`, `install Node ${required} or newer`, true);
  const elsewhere = platformDefect();
  if (elsewhere !== undefined) {
    add('this package does not run on this system', elsewhere, true);
    return defects;
  }
  if (!libtorch.found) add('no LibTorch was found', `run "${setup}", which fetches it`, true);
  if (!addon.built) {
    const missing = buildToolDefect(env);
    add('the addon has not been built', missing === undefined ? `run "${setup}"` : `${missing} (${setup})`, true);
  } else if (!addon.loads) {
    add(`the addon does not load: ${addon.error}`, `run "${setup} --force"`, true);
  } else if (addon.outdated !== null) {
    add(`the addon is out of date: ${addon.outdated}`, `run "${setup}"`, false);
  }
  defects.push(...gpuDefects(findings), ...ncclDefects(findings));
  if ('error' in sharp) {
    const todo = 'run "npm install sharp" beside this package (not with --omit=optional or --no-optional)';
    add(`sharp does not load: ${sharp.error.split('\n')[0]}`, todo, true);
  } else if (!sharp.formats.includes('jpeg')) {
    add('sharp was built without JPEG', 'install sharp from the package registry', true);
  }
  if (threads.omp !== null && !/^[1-9]\d*$/.test(threads.omp)) {
    const what = `OMP_NUM_THREADS is ${JSON.stringify(threads.omp)}, which is not a number of threads`;
    add(what, 'set it to a whole number from 1, or unset it', false);
  }
  return defects;
}

/** Looks at everything; takes a second or two. Loads the addon and sharp in separate processes. */
export async function examine(env: NodeJS.ProcessEnv = process.env): Promise<Report> {
  const { libtorch, looked } = searchLibtorch({ env, recorded: recordedLibtorch() });
  const found = findAddon({ env, version: libtorch?.build });
  const paths = found ?? (libtorch ? placeFor(libtorch, packageRoot, env) : addonFilesIn(buildFolder()));
  const record = readBuildRecord(found);
  const [addon, sharp] = await Promise.all([
    found
      ? probeAddon(env)
      : ({ ok: false, error: `image.node, boot.node or torch.node is missing in ${paths.folder}` } as const),
    probeSharp(env),
  ]);
  const driver = nvidiaDriver();
  const nccl = existsSync(paths.nccl);
  const mismatch =
    record && libtorch && !sameMinor(record.version, libtorch.version)
      ? `it was built for LibTorch ${record.version}, and ${libtorch.version} was found`
      : null;
  const cache = cacheFolder(env);
  const hub = hubFolder(env);
  const findings: Findings = {
    node: { version: process.versions.node, required, ok: isAtLeast(process.versions.node, required) },
    platform: { system: `${process.platform}-${process.arch}`, glibc: glibcVersion() ?? null },
    addon: {
      path: paths.torch,
      origin: found?.origin ?? null,
      built: found !== undefined,
      outdated: found ? (buildDefect(packageRoot, env) ?? mismatch) : null,
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
      looked,
    },
    gpus: { driver: driver?.seen ?? null, list: listGpus(env), usedByLibtorch: addon.ok && addon.devices.length > 0 },
    threads: {
      cores: availableParallelism(),
      omp: env.OMP_NUM_THREADS ?? null,
      libtorch: addon.ok ? addon.threads : null,
      memoryBytes: totalmem(),
    },
    sharp: sharp.ok ? { version: sharp.sharp, vips: sharp.vips, formats: sharp.formats } : { error: sharp.error },
    caches: [
      { name: 'LibTorch and downloads', path: cache, bytes: bytesBelow(cache) },
      { name: 'checkpoints (shared with Python)', path: hub, bytes: bytesBelow(hub) },
    ],
    torchrun: onPath('torchrun', env) ?? null,
  };
  const defects = collectDefects(findings, env);
  return { usable: !defects.some((defect) => defect.fatal), ...findings, defects };
}
