// The report of `bench` without a reference, as a page that fits 80 columns, or fewer on a narrow terminal.
import { table } from '../logging/table.js';
import { wrappedProse } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import type { Latency, MachineReport, Rate } from './machine.js';
import { bytes, short } from './print.js';
import type { Memory } from './protocol.js';

const RATES = ['a second', 'median', 'slowest', 'fastest', 'times', 'wall s', 'CPU s'];
const LATENCIES = ['a query, ms', '50 %', '95 %', '', 'times', 'wall s', 'CPU s'];

const spent = (of: Rate | Latency) => [String(of.repetitions), short(of.wall_seconds), short(of.cpu_seconds)];
const rateRow = (name: string, rate: Rate) => [
  name,
  ...[rate.per_second, rate.slowest, rate.fastest].map(short),
  ...spent(rate),
];
const latencyRow = (name: string, of: Latency) => [name, short(1e3 * of.p50), short(1e3 * of.p95), '', ...spent(of)];

const peak = ({ peak_bytes, device_peak_bytes }: Memory) =>
  device_peak_bytes === undefined ? bytes(peak_bytes) : `${bytes(peak_bytes)}, of the GPU ${bytes(device_peak_bytes)}`;

/** What --vit_ckpt_layer does on this machine is decided step by step. */
const recomputation = (blocks: number) =>
  blocks === 0 ? [] : [`Of the vision encoder, ${counted(blocks, 'block')} may be recomputed, if memory is short.`];

export function printMachine(report: MachineReport, columns = Number.POSITIVE_INFINITY): string {
  const { machine, versions, options: o, training, memory } = report;
  const weights = o.pretrained ?? 'weights drawn here';
  const measured = 'skipped' in training ? undefined : training;
  const rows = [
    RATES,
    rateRow('images', report.images),
    rateRow('texts', report.texts),
    rateRow('pairs', report.pairs),
    ...(measured === undefined ? [] : [rateRow('training steps', measured)]),
    [],
    LATENCIES,
    latencyRow('text query', report.text_query),
    latencyRow('image query', report.image_query),
  ];
  const step =
    'skipped' in training
      ? [
          'Training was not measured:',
          `${training.skipped}.`,
          'Lower --batch or --queue_size, or take a smaller --vit.',
        ]
      : [`A training step has ${counted(training.batch, 'image')}.`, ...recomputation(o.vit_ckpt_layer)];
  const prose = (lines: readonly string[]) => wrappedProse(lines.join('\n'), columns);
  const setting = [
    `vit ${o.vit}, ${o.image_size} px, ${o.precision}, ${o.device}, ${counted(o.threads, 'thread')}; ${weights}`,
    `${machine.cpu}, ${counted(machine.cores, 'core')}, ${bytes(machine.memory_bytes)}`,
    [
      machine.date,
      `load ${machine.load.toFixed(1)}`,
      machine.vectors,
      `Node ${machine.node}`,
      ...Object.entries(versions).map(([name, version]) => `${name} ${version}`),
    ].join('; '),
  ];
  const peaks = [
    `peak memory: evaluation ${peak(memory)}`,
    ...(measured === undefined ? [] : [`             training ${peak(measured.memory)}`]),
  ];
  // In lines of 80 columns where nobody knows the width.
  const method = [
    `Images go in batches of ${o.batch}; ${counted(report.texts.units, 'text')} at once, all matched with one image for`,
    'the pairs. A query is encoded, then compared with 5,000 features; no re-ranking.',
  ];
  const last = [...step, `Warm-up is left out. All took ${short(report.seconds)} s.`];
  const told = columns < 80 ? [method.join(' '), ...last] : [...method, ...last];
  return [prose(setting), table(rows, 'right', columns), prose(peaks), prose(told)].join('\n\n');
}
