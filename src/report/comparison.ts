// Runs beside each other: their recalls, differences with paired intervals, and the queries that one won and lost.
import { writeFileAtomically } from '../disk/atomic-file.js';
import { at, UserError } from '../errors.js';
import { type Interval, METRICS, type MetricName, pairedIntervals } from '../evaluation/bootstrap.js';
import type { SplitInsight } from '../evaluation/insight.js';
import type { DirectionRanks } from '../evaluation/similarity-ranks.js';
import { counted, escapeHtml } from '../logging/text.js';
import { runCurves } from './curves.js';
import { htmlTable, page } from './html.js';
import { type RunFiles, readRun } from './run-files.js';
import { NAMES } from './run-report.js';

/** A query whose right answer one run found first and the other did not. */
export interface Moved {
  direction: 'image_to_text' | 'text_to_image';
  /** Index of the image or caption in the split. */
  id: number;
  /** Rank of the right answer in each run, from 1. */
  ranks: [a: number, b: number];
}

export interface Comparison {
  a: string;
  b: string;
  split: string;
  metrics: Record<MetricName, { a: number; b: number; difference: number; interval: Interval }>;
  /** Queries that b finds first and a does not, furthest moved first; and the reverse. */
  won: Moved[];
  lost: Moved[];
}

/** b against a on `split`. @throws UserError where their data are not the same */
export function compareRuns(a: RunFiles, b: RunFiles, split: 'val' | 'test'): Comparison {
  const [from, to] = [insightOf(a, split), insightOf(b, split)];
  if (from.data !== to.data)
    throw new UserError(
      `${a.folder} and ${b.folder} were evaluated on different data (${from.images} and ${counted(to.images, 'image')}, ${from.texts} and ${counted(to.texts, 'caption')} of ${split}). Compare runs with the same annotations.`,
    );
  const intervals = pairedIntervals(ranksOf(from), ranksOf(to), Int32Array.from(from.imageOfText));
  const metrics = Object.fromEntries(
    METRICS.map((name) => {
      const [of, other] = [from.metrics[name], to.metrics[name]];
      return [name, { a: of, b: other, difference: other - of, interval: intervals[name] }];
    }),
  ) as Comparison['metrics'];
  const moved = movedQueries(from, to);
  return {
    a: a.folder,
    b: b.folder,
    split,
    metrics,
    won: moved.filter(({ ranks: [, now] }) => now === 1),
    lost: moved.filter(({ ranks: [was] }) => was === 1),
  };
}

function insightOf(run: RunFiles, split: 'val' | 'test'): SplitInsight {
  const insight = split === 'test' ? run.test : run.val;
  if (insight === undefined) throw new UserError(`${run.folder} has no result of ${split}. Evaluate again.`);
  return insight;
}

function ranksOf({ queryRanks }: SplitInsight): DirectionRanks {
  const ranks = (values: readonly (number | null)[]) =>
    Float64Array.from(values, (rank) => (rank === null ? Number.POSITIVE_INFINITY : rank - 1));
  return { imageToText: ranks(queryRanks.imageToText), textToImage: ranks(queryRanks.textToImage) };
}

function movedQueries(from: SplitInsight, to: SplitInsight): Moved[] {
  const moved = (['imageToText', 'textToImage'] as const).flatMap((direction) =>
    from.queryRanks[direction].flatMap((was, id): Moved[] => {
      const now = at(to.queryRanks[direction], id);
      if (was === null || now === null || was === now || (was !== 1 && now !== 1)) return [];
      return [{ direction: direction === 'imageToText' ? 'image_to_text' : 'text_to_image', id, ranks: [was, now] }];
    }),
  );
  const distance = ({ ranks: [was, now] }: Moved) => Math.abs(was - now);
  return moved.sort((x, y) => distance(y) - distance(x) || x.id - y.id);
}

/** `+1.20`, `-0.40`. */
export const signed = (value: number) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;

/**
 * Writes a page with the runs of `folders` side by side: recalls, differences to the first with paired intervals where the
 * data are the same, curves over each other. @throws UserError for a folder without a result
 */
export async function writeSeveralReport(folders: readonly string[], path: string): Promise<void> {
  const runs = distinctNames(folders.map(readRun));
  const [first, ...others] = runs;
  if (first === undefined) throw new UserError('No run was named. Name output folders of runs.', { exitCode: 2 });
  const head = ['', ...runs.map(({ name }) => escapeHtml(name))];
  const rows = METRICS.map((name) => [NAMES[name], ...runs.map(({ test }) => test.metrics[name].toFixed(2))]);
  const parts = [
    `<h1>${runs.length} runs</h1>`,
    htmlTable('Recall on test, in percent', head, rows),
    ...others.map((run) => difference(first, run)),
  ];
  const curves = runCurves(runs);
  if (curves !== '') parts.push(`<h2>Training</h2><div class="charts">${curves}</div>`);
  parts.push(
    `<h2>The runs</h2><dl>${runs.map(({ name, folder, facts }) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(folder)}${facts === undefined ? '' : `<br><code>${escapeHtml(facts.command)}</code>`}</dd>`).join('')}</dl>`,
  );
  const html = page(`${runs.length} runs`, parts.join('\n'));
  await writeFileAtomically(path, (file) => file.write(Buffer.from(html)));
}

/** Legends need different names: folders of one name get what is above them, too. */
function distinctNames(runs: readonly RunFiles[]): RunFiles[] {
  const isTwice = (name: string) => runs.filter((run) => run.name === name).length > 1;
  return runs.map((run) => (isTwice(run.name) ? { ...run, name: run.folder } : run));
}

function difference(first: RunFiles, run: RunFiles): string {
  const title = `<h2>${escapeHtml(run.name)} against ${escapeHtml(first.name)}</h2>`;
  if (first.test.data !== run.test.data) return `${title}<p>Their data differ, so their recalls are not compared.</p>`;
  const { metrics, won, lost } = compareRuns(first, run, 'test');
  const rows = METRICS.map((name) => {
    const { difference: by, interval } = metrics[name];
    const isClear = interval.low > 0 || interval.high < 0;
    return [
      NAMES[name],
      `${isClear ? '<b>' : ''}${signed(by)}${isClear ? '</b>' : ''}`,
      `${signed(interval.low)} to ${signed(interval.high)}`,
    ];
  });
  return `${title}${htmlTable('Difference in percentage points; bold where the interval leaves out 0', ['', 'difference', '95 % interval, paired'], rows)}
<p>Found first that were not before: ${counted(won.length, 'query')}; no longer: ${lost.length}.</p>`;
}
