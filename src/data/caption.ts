// Captions as the reference feeds them to its tokenizer: `pre_caption` of data/utils.py.

/** Words that the reference keeps of a caption for retrieval. */
export const MAX_WORDS = 30;

const MARKS = /[.!"()*#:;~]/g;

// What Python's `\s` matches in a str: other than in JavaScript, the four separators U+001C to U+001F and U+0085 are
// white space, and U+FEFF is none.
const SPACE = String.raw`\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;
const RUNS_OF_SPACE = new RegExp(`[${SPACE}]{2,}`, 'g');

/**
 * Lower case, marks to spaces, runs of white space to one space, and at most `maxWords` words (parts between spaces).
 * May return an empty string.
 */
export function preCaption(text: string, maxWords: number = MAX_WORDS): string {
  const spaced = text.toLowerCase().replace(MARKS, ' ').replace(RUNS_OF_SPACE, ' ');
  const trimmed = stripSpaces(spaced.replace(/\n+$/, ''));
  const words = trimmed.split(' ');
  return words.length > maxWords ? words.slice(0, maxWords).join(' ') : trimmed;
}

/** Takes off U+0020 alone; String.trim takes off every white space. */
function stripSpaces(text: string): string {
  return text.replace(/^ +/, '').replace(/ +$/, '');
}
