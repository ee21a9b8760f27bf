// Text for an HTML page, a table for the terminal, and the line that matters of what a program printed.
import { at } from '../errors.js';

/** For the content of an HTML or SVG element (not for an attribute). */
export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

/** For an attribute of an HTML or SVG element, in double quotes. */
export function quoteHtml(text: string): string {
  return escapeHtml(text).replaceAll('"', '&quot;');
}

/** The last line of what a program printed. */
export function lastLine(text: string): string {
  const trimmed = text.trimEnd();
  return trimmed.slice(trimmed.lastIndexOf('\n') + 1);
}

/** Rows of cells as aligned lines: the first column to the left, the others too or to the `others` side. */
export function table(rows: readonly (readonly string[])[], others: 'left' | 'right' = 'left'): string {
  const width = (column: number) => rows.reduce((most, row) => Math.max(most, row[column]?.length ?? 0), 0);
  const widths = (rows[0] ?? []).map((_, column) => width(column));
  const padded = (cell: string, column: number) =>
    column > 0 && others === 'right' ? cell.padStart(at(widths, column)) : cell.padEnd(at(widths, column));
  return rows.map((row) => row.map(padded).join('  ').trimEnd()).join('\n');
}
