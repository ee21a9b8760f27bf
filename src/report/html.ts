// Pieces of HTML that pages of this room share.
import { escapeHtml, quoteHtml } from '../logging/text.js';
import { STYLE } from './style.js';

/** A whole document: title and body. Nothing in it is fetched, and nothing runs. */
export function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head>
<body><main>
${body}
</main></body></html>
`;
}

/** A table; the first cell of a row names it. Cells are HTML. */
export function htmlTable(caption: string, head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = ([first = '', ...others]: readonly string[]) =>
    `<tr><th scope="row">${first}</th>${others.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  // Focus lets the keyboard scroll a table that is wider than the screen.
  return `<div class="wide" tabindex="0" role="region" aria-label="${quoteHtml(caption)}"><table><caption>${escapeHtml(caption)}</caption>
<thead><tr>${head.map((cell) => (cell === '' ? '<td></td>' : `<th scope="col">${cell}</th>`)).join('')}</tr></thead><tbody>
${rows.map(cells).join('\n')}</tbody></table></div>`;
}

export const percent = (value: number) => value.toFixed(1);
