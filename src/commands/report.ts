// `report` and `compare`: pages and figures of runs, made from what they left in their output folders.
import { printable, UserError } from '../errors.js';
import { METRICS } from '../evaluation/bootstrap.js';
import type { ProgressStream } from '../logging/progress-bar.js';
import { table } from '../logging/table.js';
import { fitted, roomOf, wrapped } from '../logging/terminal.js';
import { compareRuns, type Moved, signed, writeSeveralReport } from '../report/comparison.js';
import { readRun } from '../report/run-files.js';
import { REPORT_FILE, writeReport } from '../report/run-report.js';

export interface ReportOptions {
  /** Where the page goes, if not into the folder of its run, or of several runs to report.html here. */
  output: string | undefined;
}

/** Writes report.html into the folder of a run, or one page of several runs. @throws UserError for a folder without a result */
export async function reportCommand(folders: readonly string[], { output }: ReportOptions): Promise<void> {
  const [first] = folders;
  if (first === undefined) throw new UserError('No run was named. Name the output folder of a run.', { exitCode: 2 });
  if (folders.length > 1) {
    const path = output ?? REPORT_FILE;
    await writeSeveralReport(folders, path);
    console.log(path);
    return;
  }
  console.log(await writeReport(first, output));
}

export interface CompareOptions {
  split: 'val' | 'test';
  json: boolean;
}

/** Moved queries that are listed of each kind. */
const LISTED = 10;

/**
 * Prints the recalls of two runs on the same data, the differences with their intervals, and the queries that b won and
 * lost. JSON: what compareRuns gives. @throws UserError where the data differ
 */
export function compareCommand(
  a: string,
  b: string,
  options: CompareOptions,
  out: ProgressStream = process.stdout,
): void {
  const [runA, runB] = [readRun(a), readRun(b)];
  const comparison = compareRuns(runA, runB, options.split);
  if (options.json) {
    out.write(`${JSON.stringify(comparison, undefined, 2)}\n`);
    return;
  }
  const { metrics, kTest, won, lost } = comparison;
  const rows = METRICS.map((name) => {
    const { a: from, b: to, difference, interval } = metrics[name];
    const isClear = interval.low > 0 || interval.high < 0;
    return [
      name,
      from.toFixed(2),
      to.toFixed(2),
      signed(difference),
      `${signed(interval.low)} to ${signed(interval.high)}`,
      isClear ? '*' : '',
    ];
  });
  const head = [options.split, 'a', 'b', 'b - a', '95 % interval', ''];
  const list = (title: string, moved: readonly Moved[]) => {
    const lines = moved.slice(0, LISTED).map(({ direction, id, ranks: [was, now], query }) => {
      const kind = direction === 'image_to_text' ? 'image' : 'caption';
      const named = query === undefined ? '' : ` (${printable(query, 100)})`;
      return wrapped(`  ${kind} ${id}${named}: rank ${was} in a, ${now} in b`, roomOf(out));
    });
    const rest = moved.length > LISTED ? [`  and ${moved.length - LISTED} more (--json lists them)`] : [];
    return [`${title}: ${moved.length}`, ...lines, ...rest];
  };
  out.write(
    `${fitted(`a: ${a}\nb: ${b}`, out)}\n\n${table([head, ...rows], 'right', roomOf(out))}\n* the interval leaves out 0\n${kTest.a === kTest.b ? '' : `k_test: ${kTest.a} in a, ${kTest.b} in b\n`}\n${[...list('Found first by b and not by a', won), ...list('Found first by a and not by b', lost)].join('\n')}\n`,
  );
}
