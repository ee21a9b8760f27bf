// How wide a text is on a terminal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { table } from '#blip/logging/table.js';
import { cutEnd, cutStart, padded, widthOf } from '#blip/logging/width.js';

test('columns of a text', () => {
  const cases: [text: string, width: number][] = [
    ['', 0],
    ['abc', 3],
    ['é', 1],
    ['e\u0301', 1],
    ['中文', 4],
    ['（x）', 5],
    ['かな カナ', 9],
    ['ｶﾅ', 2],
    ['한국', 4],
    ['한국'.normalize('NFD'), 4],
    ['👍', 2],
    ['a…–×', 4],
    ['Ж', 1],
  ];
  for (const [text, width] of cases) assert.equal(widthOf(text), width, text);
});

test('texts are filled up and cut by their columns', () => {
  assert.equal(padded('中', 4), '中  ');
  assert.equal(padded('中', 4, 'right'), '  中');
  assert.equal(padded('中文字', 4), '中文字');
  assert.deepEqual(
    [7, 6, 5, 4, 1].map((width) => cutEnd('中文字x', width)),
    ['中文字x', '中文…', '中文…', '中…', '…'],
  );
  assert.deepEqual(
    [7, 6, 4].map((width) => cutStart('x中文字', width)),
    ['x中文字', '…文字', '…字'],
  );
});

test('columns of a table stand below each other', () => {
  const rows = [
    ['text', 'n'],
    ['一只狗', '1'],
    ['a dog', '2'],
  ];
  assert.equal(table(rows), 'text    n\n一只狗  1\na dog   2');
  assert.equal(table(rows, 'right', 30), 'text    n\n一只狗  1\na dog   2');
});
