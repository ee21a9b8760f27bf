// Tables for a terminal or a file: aligned columns; on a narrow terminal cells of several lines, or one value a line.
import { at } from '../errors.js';
import { wrapped } from './terminal.js';
import { padded, widthOf } from './width.js';

type Rows = readonly (readonly string[])[];

const GAP = 2;
/** Indent of a cell's second line. */
const HANG = 1;

/**
 * Rows of cells as aligned lines: the first column to the left, the others too or to the `others` side. Where lines would be
 * longer than `columns`, words of wide cells go onto further lines; where that is not enough, each row becomes a list of
 * its values, named by the first row (and by the row after an empty one).
 */
export function table(rows: Rows, others: 'left' | 'right' = 'left', columns = Number.POSITIVE_INFINITY): string {
  const natural = (rows[0] ?? []).map((_, column) => widest(rows, column, widthOf));
  const widths = narrowed(rows, natural, columns);
  return widths === undefined ? list(rows, columns) : rows.map((row) => rowLines(row, widths, others)).join('\n');
}

function widest(rows: Rows, column: number, width: (cell: string) => number): number {
  return rows.reduce((most, row) => Math.max(most, width(row[column] ?? '')), 0);
}

/** The least width that a cell can be broken to. A number keeps its unit. */
function leastWidth(cell: string): number {
  if (/^[-+\d.,]+ \S+$/.test(cell)) return widthOf(cell);
  const indent = cell.length - cell.trimStart().length;
  const [first = '', ...later] = cell.trimStart().split(' ');
  return indent + Math.max(widthOf(first), ...later.map((word) => HANG + widthOf(word)));
}

/** Widths whose sum fits into `columns`: the widest columns give way first. Undefined where there are none. */
function narrowed(rows: Rows, natural: readonly number[], columns: number): number[] | undefined {
  const least = natural.map((_, column) => widest(rows, column, leastWidth));
  const widths = [...natural];
  let excess = widths.reduce((sum, width) => sum + width + GAP, -GAP) - columns;
  while (excess > 0) {
    const widestOf = (most: number, width: number, column: number) =>
      width > at(least, column) && (most < 0 || width > at(widths, most)) ? column : most;
    const column = widths.reduce(widestOf, -1);
    if (column < 0) return undefined;
    widths[column] = at(widths, column) - 1;
    excess -= 1;
  }
  return widths;
}

function rowLines(row: readonly string[], widths: readonly number[], others: 'left' | 'right'): string {
  const cells = row.map((cell, column) => {
    const width = at(widths, column);
    return widthOf(cell) <= width ? [cell] : wrapped(cell, width, HANG).split('\n');
  });
  const filled = (text: string, column: number) => padded(text, at(widths, column), column > 0 ? others : 'left');
  const height = Math.max(1, ...cells.map(({ length }) => length));
  const lines = Array.from({ length: height }, (_, line) =>
    cells.map((cell, column) => filled(cell[line] ?? '', column)).join(' '.repeat(GAP)),
  );
  return lines.map((line) => line.trimEnd()).join('\n');
}

/** Each row as its first cell, and below it the others with their headers. */
function list(rows: Rows, columns: number): string {
  let header: readonly string[] | undefined;
  const lines: string[] = [];
  for (const row of rows) {
    const [title = '', ...values] = row;
    if (row.length === 0) header = undefined;
    else if (header === undefined) {
      header = row.slice(1);
      if (title !== '') lines.push(wrapped(`${title}:`, columns));
    } else {
      lines.push(wrapped(title, columns));
      for (const [column, value] of values.entries()) {
        const name = header[column] ?? '';
        if (value !== '') lines.push(wrapped(`  ${name === '' ? value : `${name}: ${value}`}`, columns));
      }
    }
  }
  return lines.join('\n');
}
