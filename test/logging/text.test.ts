// Text from outside: no control character reaches the terminal, no tag the page.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable } from '#blip/errors.js';
import { escapeHtml, lastLine, table } from '#blip/logging/text.js';

test('control characters are escaped, and long text is cut', () => {
  assert.equal(printable('a\x1b[2Jb\n\x9b'), 'a\\u001b[2Jb\\u000a\\u009b');
  // Marks that turn the direction of the text after them, and other ends of lines.
  assert.equal(printable('a\u202egpj.\u2066\u200f\u2028b'), 'a\\u202egpj.\\u2066\\u200f\\u2028b');
  assert.equal(printable('é 日本 ‰ 👍🏽'), 'é 日本 ‰ 👍🏽');
  assert.equal(printable('x'.repeat(60), 60), 'x'.repeat(60));
  assert.equal(printable('x'.repeat(61), 60), `${'x'.repeat(59)}…`);
  assert.equal(printable('\0'.repeat(1e6)).length, 59 * '\\u0000'.length + 1);
});

test('text in HTML is no tag', () => {
  assert.equal(escapeHtml('a & <b>'), 'a &amp; &lt;b>');
});

test('the last line', () => {
  assert.deepEqual(['', 'one', 'one\ntwo\n\n'].map(lastLine), ['', 'one', 'two']);
});

test('a table is aligned, and no line ends in spaces', () => {
  const rows = [
    ['name', '1', 'x'],
    ['n', '22'],
    ['', ''],
  ];
  assert.equal(table(rows), 'name  1   x\nn     22\n');
  assert.equal(table(rows, 'right'), 'name   1  x\nn     22\n');
  assert.equal(table([]), '');
});
