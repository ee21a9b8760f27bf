// The reports of `bench` as tables for the terminal.
import { type Machine, machineLine } from './machine.js';
import { title } from './programs.js';
import type { ProgramReport, RerankReport } from './rerank.js';
import type { ScalingPoint, ScalingReport } from './scaling.js';
import type { SmallReport } from './small.js';
import { bytes, short, table } from './table.js';
import type { TrainProgramReport, TrainReport } from './train.js';

const heading = ['', title.own, title.reference, 'ratio'];

/** A row of both programs' figure and our part of the reference's. */
const rowOf =
  <T>(own: T, reference: T) =>
  (name: string, of: (program: T) => number, show: (value: number) => string) => [
    name,
    show(of(own)),
    show(of(reference)),
    short(of(own) / of(reference)),
  ];

export function printRerank(report: RerankReport): string {
  const { options: o, own, reference, scores } = report;
  const row = rowOf(own, reference);
  const rows = [
    heading,
    row('pairs a second, best', (p) => p.pairs_per_second.best, short),
    row('pairs a second, median', (p) => p.pairs_per_second.median, short),
    row('pairs a CPU second, best', (p) => p.pairs_per_cpu_second.best, short),
    row('features, seconds, best', (p) => p.feature_seconds.min, short),
    row('whole evaluation, seconds, best', (p) => p.total_seconds.min, short),
    row('whole evaluation, CPU seconds', (p) => p.cpu_seconds.min, short),
    row('peak memory', (p) => p.peak_bytes, bytes),
  ];
  if (own.device_peak_bytes !== undefined && reference.device_peak_bytes !== undefined) {
    rows.push(row('peak memory of the GPU', (p) => p.device_peak_bytes ?? 0, bytes));
  }
  return [
    `vit ${o.vit}, ${o.image_size} px, ${o.images} images, ${o.texts} texts, k ${o.k}: ${report.pairs} pairs; ${o.precision}, ${o.device}, ` +
      `${o.threads} threads each, ${o.rounds} rounds by turns`,
    head(report.machine, own.versions, reference.versions),
    '',
    table(rows),
    '',
    `largest difference of a score: ${short(scores.maxDifference)} over ${scores.both} scores; re-ranked by one program only: ${scores.one}`,
    `recalls ${report.recalls_equal ? 'equal' : 'DIFFER'}: ${recalls(own)}${report.recalls_equal ? '' : `; reference: ${recalls(reference)}`}`,
  ].join('\n');
}

export function printTrain(report: TrainReport): string {
  const { options: o, own, reference } = report;
  const row = rowOf(own, reference);
  const rows = [
    heading,
    row('seconds a step, best', (p) => p.step_seconds.min, short),
    row('seconds a step, median', (p) => p.step_seconds.median, short),
    row('CPU seconds a step', (p) => p.cpu_seconds.min, short),
    row('peak memory', (p) => p.peak_bytes, bytes),
  ];
  if (own.device_peak_bytes !== undefined && reference.device_peak_bytes !== undefined) {
    rows.push(row('peak memory of the GPU', (p) => p.device_peak_bytes ?? 0, bytes));
  }
  const losses = ({ losses: l }: TrainProgramReport) =>
    l.loss_itm.map((itm, step) => `${itm.toFixed(4)} ${(l.loss_ita[step] ?? Number.NaN).toFixed(4)}`).join(', ');
  return [
    `vit ${o.vit}, ${o.image_size} px, batch ${o.batch}, ${o.vit_ckpt_layer} recomputed blocks, queue ${o.queue_size}; ${o.precision}, ${o.device}, ` +
      `${o.threads} threads each, ${o.rounds} rounds of ${o.steps} steps by turns`,
    head(report.machine, own.versions, reference.versions),
    '',
    table(rows),
    '',
    `steps in the time of one of the reference's: ${short(report.ratio.best)} by the best, ${short(report.ratio.median)} by the median`,
    `ITM and ITA losses by step, own random numbers: ${title.own} ${losses(own)}`,
    `  ${title.reference} ${losses(reference)}`,
  ].join('\n');
}

export function printSmall(report: SmallReport): string {
  return [
    head(report.machine, report.versions.own, report.versions.reference),
    '',
    table([
      [report.unit, 'best', 'median'],
      [title.own, short(report.own.min), short(report.own.median)],
      [
        title.reference.replace('salesforce/BLIP', 'Python'),
        short(report.reference.min),
        short(report.reference.median),
      ],
      ["Python's best time in ours", short(report.ratio)],
    ]),
  ].join('\n');
}

export function printScaling(report: ScalingReport): string {
  const { options: o } = report;
  const rows = (points: readonly ScalingPoint[]) =>
    points.map((p) => [
      String(p.images),
      String(p.texts),
      String(p.k),
      String(p.pairs),
      short(p.feature_seconds),
      short((1e3 * p.feature_seconds) / p.images),
      short(p.rerank_seconds),
      short((1e3 * p.rerank_seconds) / p.pairs),
      short(p.cpu_seconds),
      bytes(p.peak_bytes),
    ]);
  const names = [
    'images',
    'texts',
    'k',
    'pairs',
    'features s',
    'ms an image',
    're-ranking s',
    'ms a pair',
    'CPU s',
    'peak memory',
  ];
  return [
    `vit ${o.vit}, ${o.image_size} px, ${o.precision}, ${o.device}, ${o.threads} threads; each size in a process of its own`,
    head(report.machine, report.versions, {}),
    '',
    table([names, ...rows(report.by_images)]),
    '',
    table([names, ...rows(report.by_k)]),
  ].join('\n');
}

function head(at: Machine, own: Readonly<Record<string, string>>, reference: Readonly<Record<string, string>>): string {
  const named = Object.entries(reference).map(([name, version]): [string, string] => [
    name === 'torch' ? "the reference's torch" : name,
    version,
  ]);
  return machineLine(at, { ...own, ...Object.fromEntries(named) });
}

const recalls = ({ recalls: r }: ProgramReport) =>
  `TR ${[r.txt_r1, r.txt_r5, r.txt_r10].map((v) => v.toFixed(2)).join('/')} IR ${[r.img_r1, r.img_r5, r.img_r10].map((v) => v.toFixed(2)).join('/')}`;
