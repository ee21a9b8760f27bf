// pre_caption against the reference's results, and where Python's strings differ from JavaScript's.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { preCaption } from '#blip/data/caption.js';
import { projectRoot } from '../helpers/fixtures.js';

interface Case {
  text: string;
  pre_caption_30: string;
  pre_caption_50: string;
}

test('equals the reference on the golden captions', () => {
  const golden: { cases: Case[] } = JSON.parse(readFileSync(join(projectRoot, 'test/golden/tokenizer.json'), 'utf8'));
  assert.ok(golden.cases.length >= 199);
  for (const { text, pre_caption_30, pre_caption_50 } of golden.cases) {
    assert.equal(preCaption(text), pre_caption_30);
    assert.equal(preCaption(text, 50), pre_caption_50);
  }
});

test('white space is Python’s, and only runs of it become one space', () => {
  assert.equal(preCaption('a\x1c\x1fb'), 'a b');
  assert.equal(preCaption('a\x85\u2028b'), 'a b');
  assert.equal(preCaption('a\ufeff\ufeffb'), 'a\ufeff\ufeffb');
  assert.equal(preCaption('a\tb'), 'a\tb');
});

test('trailing newlines go before outer spaces, other white space stays', () => {
  assert.equal(preCaption(' a\n'), 'a');
  assert.equal(preCaption('a\t'), 'a\t');
  assert.equal(preCaption('a.\n'), 'a');
});

test('marks become spaces and words are cut at spaces', () => {
  assert.equal(preCaption('A "Dog" (big): runs~fast!'), 'a dog big runs fast');
  assert.equal(preCaption('a b c d', 2), 'a b');
  assert.equal(preCaption('a\tb c d', 2), 'a\tb c');
  assert.equal(preCaption('!?.'), '?');
  assert.equal(preCaption('...'), '');
});

test('lower case is the whole string’s: a final sigma is one', () => {
  assert.equal(preCaption('ΟΔΟΣ ΣΑ'), 'οδος σα');
});
