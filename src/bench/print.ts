// The reports of `bench` as tables for the terminal.
import { at } from '../errors.js';
import { table } from '../logging/table.js';
import { wrapped } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { type Machine, ownTitle } from './harness.js';
import type { Memory, Versions } from './protocol.js';
import type { RerankReport } from './rerank.js';
import { type Both, titlesOf } from './rivals.js';
import type { ScalingPoint, ScalingReport } from './scaling.js';
import { ROWS_PER_IMAGE, type SmallReport, type TrainLoaderReport } from './small.js';
import type { StartReport } from './start.js';
import type { TrainReport } from './train.js';

type Rows = readonly (readonly string[])[];

/** Three significant digits: `0.0123`, `1.23`, `123`, `12300`. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Bytes in MiB or GiB. */
export function bytes(value: number): string {
  const mebibytes = value / 2 ** 20;
  return mebibytes < 1024 ? `${short(mebibytes)} MiB` : `${short(mebibytes / 1024)} GiB`;
}

const headerOf = (titles: Both<string>) => ['', titles.own, titles.reference, 'ratio'];
const cells = (name: string, ...values: number[]) => [name, ...values.map(short)];

/** A report: what was measured, the machine and the versions, tables, and lines below them. */
interface Page {
  what?: string;
  machine: Machine;
  versions: Versions;
  tables: readonly Rows[];
  /** To the left, of tables whose cells are texts. */
  others?: 'left' | 'right';
  below?: readonly string[];
}

/** The report as lines of at most `columns`. */
export function page({ what, machine, versions, tables, others = 'right', below = [] }: Page, columns: number): string {
  const { date, cpu, vectors, cores, load, node } = machine;
  const shown = (name: string) => (name === 'torch' ? "Python's torch" : name);
  const named = Object.entries(versions).map(([name, version]) => `${shown(name)} ${version}`);
  const head = [
    date,
    `${cpu}, ${vectors}, ${counted(cores, 'core')}`,
    `load ${load.toFixed(1)}`,
    `Node ${node}`,
    ...named,
  ].join('; ');
  const prose = (...lines: readonly (string | undefined)[]) =>
    lines.flatMap((line) => (line === undefined ? [] : [wrapped(line, columns)])).join('\n');
  const parts = [prose(what, head), ...tables.map((rows) => table(rows, others, columns)), prose(...below)];
  return parts.filter((part) => part !== '').join('\n\n');
}

/** The page of a comparison on a model: the figures of both programs, ours divided by the reference's, and their peak memory. */
function comparison<T extends Memory & { versions: Versions }>(
  what: string,
  { machine, own, reference, options }: Both<T> & { machine: Machine; options: Parameters<typeof titlesOf>[0] },
  figures: Record<string, (program: T) => number>,
  below: string[],
  columns: number,
): string {
  const row = (name: string, a: number, b: number, show = short) => [name, show(a), show(b), short(a / b)];
  const rows = Object.entries(figures).map(([name, of]) => row(name, of(own), of(reference)));
  rows.push(row('peak memory', own.peak_bytes, reference.peak_bytes, bytes));
  const [ours, theirs] = [own.device_peak_bytes, reference.device_peak_bytes];
  if (ours !== undefined && theirs !== undefined) rows.push(row('peak memory of the GPU', ours, theirs, bytes));
  const versions = { ...own.versions, ...reference.versions };
  return page({ what, machine, versions, tables: [[headerOf(titlesOf(options)), ...rows]], below }, columns);
}

const setting = ({ precision, device, threads, rounds, against }: RerankReport['options'] | TrainReport['options']) =>
  `${precision}${against === 'fp32' ? ' against fp32' : ''}, ${device}, ${counted(threads, 'thread')} each, ${counted(rounds, 'alternating round')}`;

export function printRerank(report: RerankReport, columns = Number.POSITIVE_INFINITY): string {
  const { options: o, own, reference, scores, recalls_equal } = report;
  const percent = (values: readonly number[]) => values.map((value) => value.toFixed(2)).join('/');
  const recalls = ({ recalls: r }: typeof own) =>
    `TR ${percent([r.txt_r1, r.txt_r5, r.txt_r10])} IR ${percent([r.img_r1, r.img_r5, r.img_r10])}`;
  return comparison(
    `vit ${o.vit}, ${o.image_size} px, ${counted(o.images, 'image')}, ${counted(o.texts, 'text')}, k ${o.k}: ${counted(report.pairs, 'pair')}; ${setting(o)}`,
    report,
    {
      'pairs a second, best': (p) => p.pairs_per_second.best,
      'pairs a second, median': (p) => p.pairs_per_second.median,
      'pairs a CPU second, best': (p) => p.pairs_per_cpu_second.best,
      'features, seconds, best': (p) => p.feature_seconds.min,
      'complete evaluation, seconds, best': (p) => p.total_seconds.min,
      'features, CPU seconds': (p) => p.feature_cpu_seconds.min,
      're-ranking, CPU seconds': (p) => p.rerank_cpu_seconds.min,
      'complete evaluation, CPU seconds': (p) => p.cpu_seconds.min,
    },
    [
      `largest difference of a score: ${short(scores.maxDifference)} over ${counted(scores.both, 'score')}; re-ranked by one program only: ${scores.one}`,
      `recalls ${recalls_equal ? 'equal' : 'DIFFER'}: ${recalls(own)}${recalls_equal ? '' : `; ${titlesOf(o).reference}: ${recalls(reference)}`}`,
    ],
    columns,
  );
}

export function printTrain(report: TrainReport, columns = Number.POSITIVE_INFINITY): string {
  const { options: o, own, reference, ratio } = report;
  const titles = titlesOf(o);
  const losses = ({ losses: { loss_itm, loss_ita } }: typeof own) =>
    loss_itm.map((itm, step) => `${itm.toFixed(4)} ${at(loss_ita, step).toFixed(4)}`).join(', ');
  return comparison(
    `vit ${o.vit}, ${o.image_size} px, batch ${o.batch}, ${counted(o.vit_ckpt_layer, 'recomputed block')}, queue ${o.queue_size}; ${setting(o)} of ${counted(o.steps, 'step')}`,
    report,
    {
      'seconds a step, best': (p) => p.step_seconds.min,
      'seconds a step, median': (p) => p.step_seconds.median,
      'CPU seconds a step': (p) => p.cpu_seconds.min,
    },
    [
      `steps in the time of one of ${titles.reference}: ${short(ratio.best)} by the best, ${short(ratio.median)} by the median`,
      `ITM and ITA losses by step, ${o.against === 'fp32' ? 'with the same random numbers' : 'each with its own random numbers'}: ${titles.own} ${losses(own)}`,
      `  ${titles.reference} ${losses(reference)}`,
    ],
    columns,
  );
}

export function printSmall(
  { machine, versions, unit, own, reference, ratio }: SmallReport,
  columns = Number.POSITIVE_INFINITY,
): string {
  const rows = [
    [unit, 'best', 'median'],
    cells(ownTitle, own.min, own.median),
    cells('Python', reference.min, reference.median),
    cells("Python's best time in ours", ratio),
  ];
  return page({ machine, versions: { ...versions.own, ...versions.reference }, tables: [rows] }, columns);
}

export function printTrainLoader(report: TrainLoaderReport, columns = Number.POSITIVE_INFINITY): string {
  const { options: o, own: a, reference: b, ratio } = report;
  const rows = [
    headerOf(titlesOf({})),
    cells('images a second and core, best', 1e3 / a.cpu.min, 1e3 / b.cpu.min, ratio.cpu),
    cells('CPU ms an image, best', a.cpu.min, b.cpu.min, ratio.cpu),
    cells('CPU ms an image, median', a.cpu.median, b.cpu.median, b.cpu.median / a.cpu.median),
    cells('ms an image, best', a.elapsed.min, b.elapsed.min, ratio.elapsed),
    cells('ms an image, median', a.elapsed.median, b.elapsed.median, b.elapsed.median / a.elapsed.median),
  ];
  const load = `batches of ${o.batch}, ${counted(o.workers, 'worker')} each, ${counted(o.images * ROWS_PER_IMAGE, 'row')}`;
  const what = `training transforms at ${o.image_size} px, ${load}, ${counted(o.rounds, 'alternating round')}`;
  return page({ what, machine: report.machine, versions: report.versions, tables: [rows] }, columns);
}

/** A column for each size that was measured: there are four, and more figures of each. */
export function printScaling(
  { machine, versions, options: o, by_images, by_k }: ScalingReport,
  columns = Number.POSITIVE_INFINITY,
): string {
  const figures: [name: string, of: (point: ScalingPoint) => string][] = [
    ['images', (p) => `${p.images}`],
    ['texts', (p) => `${p.texts}`],
    ['k', (p) => `${p.k}`],
    ['pairs', (p) => `${p.pairs}`],
    ['features, s', (p) => short(p.feature_seconds)],
    ['ms an image', (p) => short((1e3 * p.feature_seconds) / p.images)],
    ['re-ranking, s', (p) => short(p.rerank_seconds)],
    ['ms a pair', (p) => short((1e3 * p.rerank_seconds) / p.pairs)],
    ['CPU s', (p) => short(p.cpu_seconds)],
    ['peak memory', (p) => bytes(p.peak_bytes)],
  ];
  const rows = (points: readonly ScalingPoint[]) => figures.map(([name, of]) => [name, ...points.map(of)]);
  const what = `vit ${o.vit}, ${o.image_size} px, ${o.precision}, ${o.device}, ${counted(o.threads, 'thread')}; each size in a process of its own`;
  return page({ what, machine, versions, tables: [rows(by_images), rows(by_k)] }, columns);
}

export function printStart(
  { machine, options, starts, opened }: StartReport,
  columns = Number.POSITIVE_INFINITY,
): string {
  const header = ['seconds', 'best', 'median', 'CPU, mean'];
  const rows = starts.map(({ what, min, median, cpu }) => cells(what, min, median, cpu));
  const name = `open ${bytes(opened.bytes)}, checksums compared`;
  const open = cells(name, opened.min, opened.median, opened.cpu);
  const how = `${counted(options.rounds, 'alternating round')}, each in a new process. Opening is measured after LibTorch was opened; peak memory of that process: ${bytes(opened.peak_bytes)}.`;
  return page({ machine, versions: {}, tables: [[header, ...rows, open]], below: [how] }, columns);
}
