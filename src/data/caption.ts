// Cleans captions for the tokenizer: `pre_caption` of the reference's data/utils.py.

/** The reference's longest caption for retrieval, in words. */
export const MAX_WORDS = 30;

const MARKS = /[.!"()*#:;~]/g;

// What Python's `\s` matches in a str. Unlike JavaScript's, it includes the four separators U+001C to U+001F and
// U+0085, but not U+FEFF.
const SPACE = String.raw`\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;
const RUNS_OF_SPACE = new RegExp(`[${SPACE}]{2,}`, 'g');

/**
 * In lower case, with spaces for marks, single spaces for runs of white space, and at most `maxWords` words (parts
 * between spaces). May return an empty string.
 */
export function preCaption(text: string, maxWords: number = MAX_WORDS): string {
  const spaced = text.toLowerCase().replace(MARKS, ' ').replace(RUNS_OF_SPACE, ' ');
  const trimmed = stripSpaces(spaced.replace(/\n+$/, ''));
  const words = trimmed.split(' ');
  return words.length > maxWords ? words.slice(0, maxWords).join(' ') : trimmed;
}

/** Strips only U+0020; String.trim strips all white space. */
function stripSpaces(text: string): string {
  return text.replace(/^ +/, '').replace(/ +$/, '');
}
