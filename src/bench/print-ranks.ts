// The report of `bench ranks` as a table for the terminal.
import { at } from '../errors.js';
import { counted } from '../logging/text.js';
import { bytes, page, short } from './print.js';
import type { RanksReport } from './ranks.js';

export function printRanks(
  { machine, options: o, layouts, evaluation, scores, training }: RanksReport,
  columns = Number.POSITIVE_INFINITY,
): string {
  const names = layouts.map(({ ranks, threads }) => `${ranks} x ${counted(threads, 'thread')}`);
  const rows = (name: string, [one, several]: typeof evaluation) => {
    if (one === undefined || several === undefined) return [];
    const row = (what: string, a: number, b: number, show = short) => [
      `${name}, ${what}`,
      show(a),
      show(b),
      short(a / b),
    ];
    return [
      row('seconds, best', one.seconds.min, several.seconds.min),
      row('seconds, median', one.seconds.median, several.seconds.median),
      row('CPU seconds', one.cpu_seconds.min, several.cpu_seconds.min),
      row('peak memory of all', one.peak_bytes, several.peak_bytes, bytes),
    ];
  };
  const trained = 'skipped' in training ? [] : rows('a training step', training);
  const skipped = 'skipped' in training ? [`Training was not measured: ${training.skipped}.`] : [];
  const what = `vit ${o.vit}, ${o.image_size} px, ${o.precision}; ${counted(o.images, 'image')}, ${counted(o.texts, 'text')}, k ${o.k}; steps of ${counted(o.train_batch, 'image')}; ${counted(o.rounds, 'alternating round')}`;
  const tables = [[['', at(names, 0), at(names, 1), 'ratio'], ...rows('evaluation', evaluation), ...trained]];
  const difference = `largest difference of a score: ${short(scores.maxDifference)} over ${counted(scores.both, 'score')}`;
  return page({ what, machine, versions: {}, tables, below: [difference, ...skipped] }, columns);
}
