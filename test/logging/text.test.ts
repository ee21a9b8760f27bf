// Text from outside: no control character reaches the terminal, no tag the page.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { printable } from '#blip/errors.js';
import { counted, escapeHtml, lastLine, nounOf } from '#blip/logging/text.js';
import { projectRoot } from '../helpers/fixtures.js';

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

test('a count has its noun in the right number', () => {
  const cases: [count: number | bigint, noun: string, text: string][] = [
    [0, 'image', '0 images'],
    [1, 'image', '1 image'],
    [2, 'image', '2 images'],
    [1n, 'byte', '1 byte'],
    [2n, 'byte', '2 bytes'],
    [1, 'valid row', '1 valid row'],
    [3, 'valid row', '3 valid rows'],
    [2, 'entry', '2 entries'],
    [2, 'query', '2 queries'],
    [2, 'key', '2 keys'],
    [1, 'process', '1 process'],
    [2, 'process', '2 processes'],
    [2, 'batch', '2 batches'],
  ];
  for (const [count, noun, text] of cases) assert.equal(counted(count, noun), text);
  assert.equal(`1,000 ${nounOf(1000, 'element')}`, '1,000 elements');
});

/** What a count may be written with in a template, where it is never one, or is no count. */
const NEVER_ONE = [
  /^src\/commands\/forecast\.ts/, // at least some batches of a loop have gone by
  /\$\{(?:[A-Z_]+|foreign|direction|shownUrl\(url\)|printable\(text\))\} /, // constants, names
  /worldSize\} (?:ranks met|processes computes)|localWorldSize\} processes were|count\} captions or lists/, // several
  /running\.length\} ranks were|first of \$\{defects\.length\}|ids\.length\} names are too many/, // several
  /short\([\w.]+\)\} (?:images|pairs) a second|toFixed\(1\)\} images\/s|this\.file\} images\[/, // measures, places
];

test('in every message of the program a count and its noun go through `counted`', () => {
  const nouns =
    'images|captions|texts|files|rows|steps|threads|epochs|evaluations|queries|pairs|ranks|processes|cores|tensors|entries|rounds|workers|defects|names|scores|blocks';
  const written = new RegExp(
    `\\$\\{(?:[^{}]|\\{[^{}]*\\})*\\} (?:\\w+ed |alternating |vision |valid )?(?:${nouns})\\b`,
  );
  const sources = readdirSync(join(projectRoot, 'src'), { recursive: true, encoding: 'utf8' });
  const found = sources
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => {
      const lines = readFileSync(join(projectRoot, 'src', name), 'utf8').split('\n');
      return lines.filter((line) => written.test(line)).map((line) => `src/${name}: ${line.trim()}`);
    });
  assert.deepEqual(
    found.filter((line) => !NEVER_ONE.some((pattern) => pattern.test(line))),
    [],
  );
  const placeholder = (inner: string) => ['$', `{${inner}}`].join('');
  assert.match(`${placeholder('images')} images`, written);
  assert.match(`${placeholder('a.map(({ b }) => b).length')} valid rows`, written);
});
