// How many columns of a terminal a text takes: a Chinese character two, an accent that is a character of its own none.

const PLAIN = /^[\x20-\x7e]*$/;
/** Marks above and below, joiners, the later parts of a Korean syllable in several characters. */
const NONE = /[\p{Mn}\p{Me}\p{Cf}\u1160-\u11ff]/u;
const HALF = /[\uff61-\uffdc]/;
const TWO =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Bopomofo}\p{Script=Yi}\p{Emoji_Presentation}\u3000-\u303e\u30fb\u30fc\uff01-\uff60\uffe0-\uffe6]/u;

const widthOfCharacter = (character: string): number =>
  PLAIN.test(character) || HALF.test(character) ? 1 : NONE.test(character) ? 0 : TWO.test(character) ? 2 : 1;

/** Columns of a text without control characters. */
export function widthOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  return Array.from(text, widthOfCharacter).reduce((sum, width) => sum + width, 0);
}

/** The text with spaces after it, or before it, so that it takes `width` columns or more. */
export function padded(text: string, width: number, side: 'left' | 'right' = 'left'): string {
  const spaces = ' '.repeat(Math.max(0, width - widthOf(text)));
  return side === 'left' ? text + spaces : spaces + text;
}

/** As many characters of the text's start as `width` columns hold. */
function start(characters: readonly string[], width: number): string[] {
  let room = width;
  const end = characters.findIndex((character) => {
    room -= widthOfCharacter(character);
    return room < 0;
  });
  return characters.slice(0, end < 0 ? characters.length : end);
}

/** A text cut to `width` columns, with … at its end where it was longer. */
export function cutEnd(text: string, width: number): string {
  return widthOf(text) <= width ? text : `${start([...text], Math.max(0, width - 1)).join('')}…`;
}

/** The same with … at its start. */
export function cutStart(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  return `…${start([...text].reverse(), Math.max(0, width - 1))
    .reverse()
    .join('')}`;
}
