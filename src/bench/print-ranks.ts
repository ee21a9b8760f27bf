// The report of `bench ranks` as a table for the terminal.
import { at } from '../errors.js';
import { bytes, page, short } from './print.js';
import type { RanksReport } from './ranks.js';

export function printRanks({ machine, options: o, layouts, evaluation, scores, training }: RanksReport): string {
  const names = layouts.map(({ ranks, threads }) => `${ranks} x ${threads} threads`);
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
  return page(
    `vit ${o.vit}, ${o.image_size} px, ${o.precision}; ${o.images} images, ${o.texts} texts, k ${o.k}; steps of ${o.train_batch} images; ${o.rounds} alternating rounds`,
    machine,
    {},
    [[['', at(names, 0), at(names, 1), 'ratio'], ...rows('evaluation', evaluation), ...trained]],
    [`largest difference of a score: ${short(scores.maxDifference)} over ${scores.both} scores`, ...skipped].join('\n'),
  );
}
