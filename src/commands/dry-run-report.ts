// What --dry_run prints: memory and time of a run, in lines of at most 80 columns, or fewer on a narrow terminal.
import { formatBytes } from '../disk/space.js';
import { pythonDuration } from '../logging/python-format.js';
import { table } from '../logging/table.js';
import { counted } from '../logging/text.js';
import type { Precision } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';
import type { StepMeasure, TrainingPlan, trainingSeconds } from '../training/estimate.js';
import { type KeptBytes, sumOf } from '../training/memory.js';

export interface SplitEstimate {
  name: string;
  images: number;
  texts: number;
  pairs: number;
  /** Seconds. */
  features: number;
  rerank: number;
  /** Images of each rank, and those of them whose tokens are kept. */
  share: number;
  kept: number;
}

export interface EvaluationEstimate {
  splits: readonly SplitEstimate[];
  /** Bytes: kept tokens of images, stems of texts, everything else. */
  memory: { images: number; stems: number; working: number };
  /** What was measured, and how long that took. */
  measured: { images: number; pairs: number; seconds: number };
}

export interface Setting {
  device: Device;
  precision: Precision;
  ranks: number;
  /** Ranks that share the time. */
  sharing: number;
  /** Bytes that a rank can have. */
  free: number;
  /** Seconds until the model is there. */
  start: number;
  evaluation: EvaluationEstimate;
}

export interface TrainingSetting extends Setting {
  batch: number;
  kept: KeptBytes;
  peak: number;
  /** The largest batch that fits, and the rows of the training set for each process: there is no larger batch. */
  most: number;
  rows: number;
  measures: readonly StepMeasure[];
  /** Seconds of a step of the config's batch. */
  step: number;
  seconds: ReturnType<typeof trainingSeconds>;
  plan: TrainingPlan;
  disk: { bytes: number; free: number; folder: string };
}

type Rows = readonly (readonly string[])[];

/** Longer than a minute as a clock, shorter ones with a digit. */
export const duration = (seconds: number) => (seconds < 60 ? `${seconds.toFixed(1)} s` : pythonDuration(seconds));
const count = (value: number) => String(Math.round(value));

function heading(what: string, { device, precision, ranks, sharing }: Setting): string[] {
  const lines = [`Dry run of ${what} on ${device}, ${precision}. Nothing was written.`];
  if (ranks > 1) {
    lines.push(`Measured in one process; planned for ${ranks}, without their exchanges.`);
    if (sharing < ranks) lines.push('Processes on the CPUs of one machine share its cores: they save no time.');
  }
  return lines;
}

const sectionsIn = (columns: number) => (title: string, rows: Rows) => [
  '',
  title,
  ...table(rows, 'right', columns - 2)
    .split('\n')
    .map((line) => `  ${line}`),
];

function splitRows({ splits }: EvaluationEstimate): string[][] {
  return splits.flatMap(({ name, images, texts, pairs, features, rerank, share, kept }) => [
    [`${name}: features of ${counted(images, 'image')}, ${counted(texts, 'caption')}`, duration(features)],
    [`${name}: re-ranking of about ${counted(Math.round(pairs), 'pair')}`, duration(rerank)],
    ...(kept < share ? [[`  (${kept} of ${counted(share, 'image')} stay in memory, others twice)`, '']] : []),
  ]);
}

const evaluationTotal = ({ splits }: EvaluationEstimate) =>
  splits.reduce((sum, { features, rerank }) => sum + features + rerank, 0);

const measuredLine = ({ images, pairs, seconds }: EvaluationEstimate['measured']) =>
  `Evaluation: measured on ${counted(images, 'image')} and ${counted(pairs, 'pair')} in ${duration(seconds)}.`;

/** @param columns that a line of a table may have */
export function evaluationLines(setting: Setting, columns = Number.POSITIVE_INFINITY): string[] {
  const section = sectionsIn(columns);
  const { evaluation, start, free } = setting;
  const { images, stems, working } = evaluation.memory;
  return [
    ...heading('an evaluation', setting),
    ...section(setting.ranks > 1 ? 'memory of each process' : 'memory', [
      ['kept features of images', formatBytes(images)],
      ['kept stems of texts', formatBytes(stems)],
      ['program, weights and working space', formatBytes(working)],
      ['in all', formatBytes(images + stems + working)],
      ['available', formatBytes(free)],
    ]),
    ...section('time', [
      ['until the model is loaded', duration(start)],
      ...splitRows(evaluation),
      ['in all', duration(start + evaluationTotal(evaluation))],
    ]),
    '',
    measuredLine(evaluation.measured),
  ];
}

/** @param columns that a line of a table may have */
export function trainingLines(setting: TrainingSetting, columns = Number.POSITIVE_INFINITY): string[] {
  const section = sectionsIn(columns);
  const { evaluation, start, free, kept, peak, batch, most, rows, step, seconds, plan, disk, measures } = setting;
  const fixed = sumOf(kept);
  const tried = measures.map((one) => `${one.batch}`).join(', ');
  const extrapolated = measures.some((measure) => measure.batch === batch) ? '' : `; ${batch} is extrapolated`;
  const later = evaluation.memory.working + evaluation.memory.images + evaluation.memory.stems;
  return [
    ...heading('training', setting),
    ...section(setting.ranks > 1 ? 'memory of each process' : 'memory', [
      ['weights', formatBytes(kept.weights)],
      ['momentum copies', formatBytes(kept.momentum)],
      ['gradients', formatBytes(kept.gradients)],
      ["AdamW's averages", formatBytes(kept.averages)],
      ['queues', formatBytes(kept.queues)],
      [`program, and activations of ${counted(batch, 'row')}`, formatBytes(Math.max(0, peak - fixed))],
      ['in all', formatBytes(peak)],
      ['in the evaluations', formatBytes(later)],
      ['available', formatBytes(free)],
      ['largest batch_size_train that fits', most < rows ? count(most) : 'any'],
    ]),
    ...section('time', [
      ['until the model is loaded', duration(start)],
      [`a step of ${counted(batch, 'row')}`, duration(step)],
      ['evaluation', ''],
      ...splitRows(evaluation).map(([label = '', time = '']) => [`  ${label}`, time]),
      [`an epoch of ${counted(plan.stepsPerEpoch, 'step')}, evaluated`, duration(seconds.epoch)],
      [
        `in all: ${counted(seconds.steps, 'step')}, ${counted(seconds.evaluations, 'evaluation')}`,
        duration(start + seconds.all),
      ],
    ]),
    ...section('disk', [
      ['checkpoints, three at a time', formatBytes(disk.bytes)],
      ['free', Number.isFinite(disk.free) ? formatBytes(disk.free) : 'not known'],
    ]),
    ...(disk.bytes > disk.free ? [`The disk of ${disk.folder} is too small for them.`] : []),
    '',
    `Steps: measured with batches of ${tried}${extrapolated}. Writing checkpoints comes on top.`,
    measuredLine(evaluation.measured),
  ];
}
