// Finds where a text stops being JSON: Node's own message gives a position only for some mistakes, in some versions.

/** White space, then one token: a punctuation mark, a string, a number or a word. */
const TOKEN =
  /[ \t\r\n]*(?:([{}[\],:])|("(?:[^"\\\p{Cc}]|[\x7f-\x9f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null))/uy;

/** Line and column (from 1) of the first misplaced token, or of the end of a text that is cut off. */
export function jsonDefect(text: string): { line: number; column: number } {
  const offset = firstMisplaced(text);
  const before = text.slice(0, offset);
  const lastBreak = before.lastIndexOf('\n');
  return { line: before.split('\n').length, column: offset - lastBreak };
}

type Expected = 'value' | 'value or ]' | 'key' | 'key or }' | 'colon' | 'comma or end';

function firstMisplaced(text: string): number {
  const open: ('{' | '[')[] = [];
  let expected: Expected = 'value';
  TOKEN.lastIndex = 0;
  for (;;) {
    const start = skipSpace(text, TOKEN.lastIndex);
    const match = TOKEN.exec(text);
    if (match === null) return start;
    const [, mark, string] = match;
    const next = after(expected, mark ?? (string === undefined ? 'literal' : 'string'), open);
    if (next === undefined) return start;
    expected = next;
  }
}

/** What may follow `token`, or undefined if the token is not the `expected` one. Keeps the open brackets in `open`. */
function after(expected: Expected, token: string, open: ('{' | '[')[]): Expected | undefined {
  const inside = open.at(-1);
  if (expected === 'colon') return token === ':' ? 'value' : undefined;
  if (expected.startsWith('key') && token === 'string') return 'colon';
  if (expected.startsWith('value')) {
    if (token === 'string' || token === 'literal') return 'comma or end';
    if (token === '{' || token === '[') {
      open.push(token);
      return token === '{' ? 'key or }' : 'value or ]';
    }
  }
  if (expected === 'comma or end' && token === ',' && inside !== undefined) return inside === '{' ? 'key' : 'value';
  const closes = expected === 'comma or end' || expected === 'value or ]' || expected === 'key or }';
  if (closes && ((token === '}' && inside === '{') || (token === ']' && inside === '['))) {
    open.pop();
    return 'comma or end';
  }
  return undefined;
}

function skipSpace(text: string, from: number): number {
  let offset = from;
  while (offset < text.length && ' \t\r\n'.includes(text.charAt(offset))) offset++;
  return offset;
}
