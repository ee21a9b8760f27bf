// Text for an HTML page, a count with its noun, and the line that matters of what a program printed.

/** For the content of an HTML or SVG element (not for an attribute). */
export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

/** For an attribute of an HTML or SVG element, in double quotes. */
export function quoteHtml(text: string): string {
  return escapeHtml(text).replaceAll('"', '&quot;');
}

/** Characters of a caption or a name that a page or a line shows. */
const SHOWN = 300;

/** A caption or a name for a page: what is longer ends in an ellipsis. */
export function shortened(text: string, most = SHOWN): string {
  const characters = [...text.slice(0, 2 * most + 2)]; // not in the middle of a surrogate pair
  return characters.length > most ? `${characters.slice(0, most - 1).join('')}…` : text;
}

/** A count and its noun in the right number: `1 image`, `2 images`, `3 valid entries`. */
export function counted(count: number | bigint, noun: string): string {
  return `${count} ${nounOf(count, noun)}`;
}

/** The noun alone, in the number that `count` asks for: where the count stands elsewhere, or is written otherwise. */
export function nounOf(count: number | bigint, noun: string): string {
  if (Number(count) === 1) return noun;
  if (/[^aeiou]y$/.test(noun)) return noun.replace(/y$/, 'ies');
  return /(?:s|x|ch|sh)$/.test(noun) ? `${noun}es` : `${noun}s`;
}

/** The last line of what a program printed. */
export function lastLine(text: string): string {
  const trimmed = text.trimEnd();
  return trimmed.slice(trimmed.lastIndexOf('\n') + 1);
}
