// Text from outside: made harmless for where it is shown, a terminal or an HTML page, and the line of it that matters.

/** Control characters as escapes, so that a name cannot move the terminal's cursor. What is longer than `most` is cut. */
export function printable(text: string, most = Number.POSITIVE_INFINITY): string {
  const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  const plain = text.slice(0, most + 1).replace(/\p{Cc}/gu, escaped);
  return plain.length > most ? `${plain.slice(0, most - 3)}...` : plain;
}

/** For the content of an HTML or SVG element (not for an attribute). */
export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

/** The last line of what a program printed. */
export function lastLine(text: string): string {
  const trimmed = text.trimEnd();
  return trimmed.slice(trimmed.lastIndexOf('\n') + 1);
}
