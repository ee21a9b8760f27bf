// Where broken JSON is broken, and that sound JSON is never blamed before its end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { positionOf } from '#blip/data/json-position.js';
import { JsonDefect, JsonReader } from '#blip/data/json-reader.js';
import { bytesOf } from '../helpers/bytes-of.js';

/** Line and column of the first misplaced token of a text, read in pieces of `chunk` bytes. */
function jsonDefect(text: string, chunk: number) {
  const reader = new JsonReader(bytesOf(text), new Set(), chunk);
  try {
    reader.whole(() => reader.skip());
    return reader.whole(() => reader.atEnd()) ? undefined : positionOf(bytesOf(text), reader.offset);
  } catch (error) {
    if (!(error instanceof JsonDefect)) throw error;
    return positionOf(bytesOf(text), error.offset);
  }
}

const cases: [text: string, line: number, column: number][] = [
  ['', 1, 1],
  ['[1, 2', 1, 6],
  ['[\n  {"a": 1},\n  {"a": }\n]', 3, 9],
  ['[1 2]', 1, 4],
  ['[1,]', 1, 4],
  ['{"a" 1}', 1, 6],
  ['{a: 1}', 1, 2],
  ['{"a": 1,}', 1, 9],
  ['["\n"]', 1, 2],
  ['["a\\x"]', 1, 2],
  ['[tru]', 1, 2],
  ['[01]', 1, 3],
  ['[] []', 1, 4],
  [']', 1, 1],
  ['[}', 1, 2],
  ['[1]\n<html>', 2, 1],
];
for (const [text, line, column] of cases) {
  test(`${JSON.stringify(text)} breaks at line ${line}, column ${column}`, () => {
    assert.throws(() => JSON.parse(text));
    for (const chunk of [4, 7, 1000]) assert.deepEqual(jsonDefect(text, chunk), { line, column });
  });
}

test('every cut of a sound text is blamed at its end or at the token that was cut', () => {
  const text = '[{"image": "a\\u00e9.jpg", "caption": ["b", "c\x7f"], "n": [-1.5e+3, true, null, {}, []]}]';
  JSON.parse(text);
  for (let length = 0; length < text.length; length++) {
    const { line, column } = jsonDefect(text.slice(0, length), 5) ?? assert.fail('a cut text is taken as whole');
    assert.equal(line, 1);
    assert.ok(column <= length + 1);
    assert.ok(length - column < '"a\\u00e9.jpg"'.length, `cut at ${length}, blamed ${column}`);
  }
});
