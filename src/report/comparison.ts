// Runs beside each other: their recalls, differences with paired intervals, and the queries that one won and lost.
import { writeFileAtomically } from '../disk/atomic-file.js';
import { at, UserError } from '../errors.js';
import { type Interval, METRICS, type MetricName, pairedIntervals } from '../evaluation/bootstrap.js';
import type { SplitInsight } from '../evaluation/insight.js';
import type { DirectionRanks } from '../evaluation/similarity-ranks.js';
import { counted, escapeHtml, shortened } from '../logging/text.js';
import { runCurves } from './curves.js';
import { htmlTable, page } from './html.js';
import { demandResult, type EvaluatedRun, type RunFiles, readRun } from './run-files.js';
import { NAMES } from './run-report.js';

/** A query whose right answer one run found first and the other did not. */
export interface Moved {
  direction: 'image_to_text' | 'text_to_image';
  /** Index of the image or caption in the split. */
  id: number;
  /** Rank of the right answer in each run, from 1. */
  ranks: [a: number, b: number];
  /** The caption, or the image's path inside image_root; undefined where the runs are of an earlier version. */
  query?: string | undefined;
}

export interface Comparison {
  a: string;
  b: string;
  split: string;
  /** Candidates that were re-ranked for a query. */
  kTest: { a: number; b: number };
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
      `${a.folder} and ${b.folder} were evaluated on different data (${split}: ${dataDifference(from, to)}). Compare runs with the same annotations.`,
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
    kTest: { a: from.kTest, b: to.kTest },
    metrics,
    won: moved.filter(({ ranks: [, now] }) => now === 1),
    lost: moved.filter(({ ranks: [was] }) => was === 1),
  };
}

/** In what the data of two results differ. */
function dataDifference(a: SplitInsight, b: SplitInsight): string {
  if (a.images !== b.images || a.texts !== b.texts)
    return `${a.images} and ${counted(b.images, 'image')}, ${a.texts} and ${counted(b.texts, 'caption')}`;
  const both = `${counted(b.images, 'image')} and ${counted(b.texts, 'caption')}`;
  const sorted = ({ imageNames = [], captions = [] }: SplitInsight) =>
    [...imageNames].sort().concat([...captions].sort());
  const isKnown = a.captions !== undefined && b.captions !== undefined;
  if (isKnown && sorted(a).join('\n') === sorted(b).join('\n')) return `the same ${both}, in another order`;
  return `${both}, but not the same ones`;
}

function insightOf(run: RunFiles, split: 'val' | 'test'): SplitInsight {
  const insight = split === 'test' ? run.test : run.val;
  if (insight === undefined) throw new UserError(`${run.folder} has no result of ${split}. Evaluate again.`);
  return insight;
}

/** Those that evaluate.txt counts. */
function ranksOf({ queryRanks, countedRanks = queryRanks }: SplitInsight): DirectionRanks {
  const ranks = (values: readonly (number | null)[]) =>
    Float64Array.from(values, (rank) => (rank === null ? Number.POSITIVE_INFINITY : rank - 1));
  return { imageToText: ranks(countedRanks.imageToText), textToImage: ranks(countedRanks.textToImage) };
}

function movedQueries(from: SplitInsight, to: SplitInsight): Moved[] {
  const queries = {
    imageToText: from.imageNames ?? to.imageNames ?? [],
    textToImage: from.captions ?? to.captions ?? [],
  };
  const moved = (['imageToText', 'textToImage'] as const).flatMap((direction) =>
    from.queryRanks[direction].flatMap((was, id): Moved[] => {
      const now = at(to.queryRanks[direction], id);
      if (was === null || now === null || was === now || (was !== 1 && now !== 1)) return [];
      const named = direction === 'imageToText' ? 'image_to_text' : 'text_to_image';
      return [{ direction: named, id, ranks: [was, now], query: queries[direction][id] }];
    }),
  );
  const distance = ({ ranks: [was, now] }: Moved) => Math.abs(was - now);
  return moved.sort((x, y) => distance(y) - distance(x) || x.id - y.id);
}

/** `+1.20`, `−0.40`, `0.00`. */
export function signed(value: number): string {
  const size = Math.abs(value).toFixed(2);
  if (Number(size) === 0) return size;
  return `${value < 0 ? '−' : '+'}${size}`;
}

/**
 * Writes a page with the runs of `folders` side by side: recalls, differences to the first with paired intervals where the
 * data are the same, curves over each other. @throws UserError for a folder without a result or a log
 */
export async function writeSeveralReport(folders: readonly string[], path: string): Promise<void> {
  const runs = distinctNames(folders.map(readRun));
  const results = runs.flatMap((run) => (run.test === undefined ? [] : [demandResult(run)]));
  const [first, ...others] = results;
  const parts = [`<h1>${runs.length} runs</h1>`];
  if (first !== undefined) {
    const head = ['', ...results.map(({ name }) => escapeHtml(name))];
    const rows = METRICS.map((name) => [NAMES[name], ...results.map(({ test }) => test.metrics[name].toFixed(2))]);
    rows.push(['k_test', ...results.map(({ test }) => String(test.kTest))]);
    parts.push(htmlTable('Recall on test, in percent', head, rows), ...others.map((run) => difference(first, run)));
  }
  const without = runs.filter(({ test }) => test === undefined).map(({ name }) => `<bdi>${escapeHtml(name)}</bdi>`);
  if (without.length > 0)
    parts.push(`<p>Only the logs are there of ${without.join(', ')}: curves, but no recalls to compare.</p>`);
  const curves = runCurves(runs);
  if (curves !== '') parts.push(`<h2>Training</h2><div class="charts">${curves}</div>`);
  parts.push(
    `<h2>The runs</h2><dl>${runs.map(({ name, folder, facts }) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(folder)}${facts === undefined ? '' : `<br><code>${escapeHtml(facts.command)}</code>`}</dd>`).join('')}</dl>`,
  );
  const html = page(`${runs.length} runs`, parts.join('\n'));
  await writeFileAtomically(path, (file) => file.write(Buffer.from(html)));
}

/** Legends need different names: folders of one name get what is above them, too, and one that is given twice a number. */
function distinctNames(runs: readonly RunFiles[]): RunFiles[] {
  const isTwice = (name: string) => runs.filter((run) => run.name === name).length > 1;
  const longer = runs.map((run) => (isTwice(run.name) ? { ...run, name: run.folder } : run));
  return longer.map((run, i) => {
    const before = longer.slice(0, i).filter(({ name }) => name === run.name).length;
    return before === 0 ? run : { ...run, name: `${run.name} (${before + 1})` };
  });
}

function difference(first: EvaluatedRun, run: EvaluatedRun): string {
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
  const caption = `${run.name}: difference in percentage points; bold where the interval leaves out 0`;
  return `${title}${htmlTable(caption, ['', 'difference', '95 % interval, paired'], rows)}
${movedList('Queries whose right answer is now first', won)}
${movedList('Queries whose right answer is no longer first', lost)}`;
}

/** Queries that a page names of each kind. */
const LISTED = 10;

function movedList(title: string, moved: readonly Moved[]): string {
  const items = moved.slice(0, LISTED).map(({ direction, id, ranks: [was, now], query }) => {
    const kind = direction === 'image_to_text' ? 'Image' : 'Caption';
    return `<li>${kind} ${id}${query === undefined ? '' : ` <bdi>${escapeHtml(shortened(query))}</bdi>`}: rank ${was}, now ${now}</li>`;
  });
  if (items.length === 0) return `<p>${title}: none.</p>`;
  const rest = moved.length > LISTED ? `<li>and ${moved.length - LISTED} more</li>` : '';
  return `<details><summary>${title}: ${moved.length}</summary><ul>${items.join('')}${rest}</ul></details>`;
}
