// `doctor`: what this installation consists of, and the remedy for each defect.
import { formatBytes } from '../disk/space.js';
import type { ProgressStream } from '../logging/progress-bar.js';
import { titled } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { examine, type Report } from '../setup/examine.js';

const origins = {
  here: 'built in this checkout',
  cache: 'built once for this machine',
  package: 'came with the package',
  named: 'named by BLIP_RETRIEVAL_PREBUILD',
} as const;

function rows(report: Report): [title: string, text: string][] {
  const { node, platform, addon, libtorch, gpus, threads, sharp } = report;
  const cuda = libtorch.cuda ? `CUDA${libtorch.nccl ? ', NCCL' : ', no NCCL'}` : 'CPU only';
  const gpuList = gpus.list.map(({ name, memoryMiB, driver }) => `${name}, ${memoryMiB} MiB, driver ${driver}`);
  const gpuText = gpuList.length > 0 ? gpuList.join('; ') : (gpus.driver ?? 'none seen');
  const loading = addon.loads ? 'loads' : `does not load: ${addon.error}`;
  const whyNoNccl = addon.ncclDefect === null ? '' : `: ${addon.ncclDefect}`;
  const ncclText = addon.nccl ? 'libblip_nccl.so is there' : `no libblip_nccl.so${whyNoNccl}`;
  const omp = threads.omp === null ? 'OMP_NUM_THREADS not set' : `OMP_NUM_THREADS=${threads.omp}`;
  const used = threads.libtorch === null ? '' : `, LibTorch uses ${threads.libtorch}`;
  return [
    ['Node', `${node.version} (${node.required} or newer)`],
    ['System', `${platform.system}, ${platform.glibc === null ? 'no glibc' : `glibc ${platform.glibc}`}`],
    [
      'Addon',
      addon.origin === null ? `not built yet (${addon.path})` : `${addon.path} (${origins[addon.origin]}): ${loading}`,
    ],
    ['NCCL', `${ncclText} (for several GPUs)`],
    ['LibTorch', libtorch.found ? `${libtorch.version} (${cuda}): ${libtorch.root}` : 'not found'],
    ...libtorch.looked.map(({ place, outcome }): [string, string] => ['', `searched ${place}: ${outcome}`]),
    ['GPU', gpuList.length > 0 && !gpus.usedByLibtorch ? `${gpuText} (not used)` : gpuText],
    ['Threads', `${counted(threads.cores, 'core')}, ${formatBytes(threads.memoryBytes)} of memory, ${omp}${used}`],
    [
      'sharp',
      'error' in sharp ? 'does not load' : `${sharp.version} (vips ${sharp.vips}): ${sharp.formats.join(', ')}`,
    ],
    ...report.caches.map(({ name, path, bytes }): [string, string] => [
      'Cache',
      `${path}: ${bytes === 0 ? 'empty' : formatBytes(bytes)} (${name})`,
    ]),
    ['', `BLIP_CACHE ${process.env.BLIP_CACHE ? 'is set: it' : 'is not set; it'} moves the first of these folders`],
    ['torchrun', report.torchrun ?? 'not on PATH (needed only to start ranks together with Python)'],
  ];
}

/** Columns of a row's title. */
const TITLE = 10;

function print(report: Report, out: ProgressStream): string {
  const lines = rows(report).map(([title, text]) => titled(title, text, TITLE, out));
  const defects = report.defects.flatMap(({ what, todo }) => [titled('  -', what, 4, out), titled('', todo, 4, out)]);
  const ending =
    defects.length === 0 ? ['Everything is in order.'] : [report.usable ? 'Usable, but:' : 'Not usable:', ...defects];
  return [...lines, '', ...ending].join('\n');
}

/**
 * Prints the state of the installation: as a table, or with `json` as one object.
 * @returns the exit code: 0 if it is usable, else 1
 */
export async function doctorCommand(
  options: { json?: boolean } = {},
  out: ProgressStream = process.stdout,
): Promise<0 | 1> {
  const report = await examine();
  out.write(`${options.json ? JSON.stringify(report, undefined, 2) : print(report, out)}\n`);
  return report.usable ? 0 : 1;
}
