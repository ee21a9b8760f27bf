// Token ids against the reference's, the places where the library differs from it, and the user's own vocabulary.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { bertVocabulary, readVocabulary, VOCABULARY_SIZE, writeVocabulary } from '#blip/data/vocabulary.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';

interface Golden {
  bos_token_id: number;
  enc_token_id: number;
  pad_token_id: number;
  cases: {
    text: string;
    pre_caption_30: string;
    ids: number[];
    mask: number[];
    clean_ids: number[];
    clean_mask: number[];
  }[];
}

const golden: Golden = JSON.parse(readFileSync(join(projectRoot, 'test/golden/tokenizer.json'), 'utf8'));
const tokenizer = Tokenizer.load();
const folder = temporaryFolder();

test('ids and masks equal the reference on the golden captions, raw and cleaned', () => {
  for (const { text, pre_caption_30, ids, mask, clean_ids, clean_mask } of golden.cases) {
    const batch = tokenizer.encodeBatch([text, pre_caption_30]);
    assert.deepEqual([...batch.ids], [...ids, ...clean_ids], text);
    assert.deepEqual([...batch.mask], [...mask, ...clean_mask], text);
    assert.equal(batch.lengths[0], mask.filter((bit) => bit === 1).length);
  }
});

test('special ids equal the reference', () => {
  assert.equal(tokenizer.bosTokenId, golden.bos_token_id);
  assert.equal(tokenizer.encTokenId, golden.enc_token_id);
  assert.equal(tokenizer.padTokenId, golden.pad_token_id);
  assert.deepEqual([tokenizer.clsTokenId, tokenizer.sepTokenId], [101, 102]);
});

// The right-hand sides are what transformers' BertTokenizer returns.
const cases: [text: string, ids: number[]][] = [
  ['ΟΔΟΣ', [101, 1169, 29722, 29730, 29733, 102]],
  ['a\u{20000}b', [101, 1037, 100, 1038, 102]],
  ['x[ENC]y [cls]', [101, 1060, 30523, 1061, 1031, 18856, 2015, 1033, 102]],
  ['na\u0378ive', [101, 15743, 102]],
  ['café\u200b!', [101, 7668, 999, 102]],
  ['a'.repeat(101), [101, 100, 102]],
  ['', [101, 102]],
];
for (const [text, ids] of cases) {
  test(`encodes ${JSON.stringify(text.slice(0, 20))} as Python does, the first and the second time`, () => {
    assert.deepEqual([...tokenizer.encode(text).ids], ids);
    assert.deepEqual([...tokenizer.encode(text).ids], ids);
  });
}

test('a long text is cut and still ends in [SEP]', () => {
  const { ids, length } = tokenizer.encode('dog '.repeat(100), 10);
  assert.equal(length, 10);
  assert.equal(ids[9], 102);
  assert.equal(ids[8], 3899);
});

test('no texts make an empty batch', () => {
  const { ids, mask, lengths } = tokenizer.encodeBatch([]);
  assert.deepEqual([ids.length, mask.length, lengths.length], [0, 0, 0]);
});

test('the written vocabulary is bert-base-uncased’s, and reads back', () => {
  const path = join(folder, 'vocab.txt');
  writeVocabulary(path);
  const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
  assert.equal(digest, '07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3');
  assert.deepEqual(readVocabulary(path), bertVocabulary());
});

test('an own vocabulary of the same size is used', () => {
  const tokens = bertVocabulary();
  const dog = tokens.indexOf('dog');
  tokens[dog] = 'hund';
  const path = join(folder, 'own.txt');
  writeFileSync(path, tokens.join('\r\n'));
  assert.equal(tokens.length, VOCABULARY_SIZE);
  assert.deepEqual([...Tokenizer.load({ vocabFile: path }).encode('hund').ids], [101, dog, 102]);
});
