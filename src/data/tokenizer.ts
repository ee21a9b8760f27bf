// The reference's WordPiece tokenizer: bert-base-uncased with [DEC] and [ENC] added.
import { createRequire } from 'node:module';
import { get } from '../errors.js';
import { bertVocabulary, readVocabulary, VOCABULARY_SIZE } from './vocabulary.js';

// The part of the package that is used here. Its own types do not resolve under Node's module resolution, because their
// imports have no extensions.
interface Components {
  BertNormalizer: new (config: {
    clean_text: boolean;
    handle_chinese_chars: boolean;
    lowercase: boolean;
  }) => { normalize(text: string): string };
  BertPreTokenizer: new () => { pre_tokenize_text(text: string): string[] };
  WordPiece: new (config: {
    unk_token: string;
    continuing_subword_prefix: string;
    max_input_chars_per_word: number;
    vocab: Record<string, number>;
  }) => { encode(words: string[]): string[] };
}
const components: Components = createRequire(import.meta.url)('@huggingface/tokenizers');

/** Length to which the reference pads or cuts a caption, in tokens, [CLS] and [SEP] included. */
export const MAX_LENGTH = 35;

/** Words in the cache of tokens: COCO's captions have some 30,000 different words. */
const CACHED_WORDS = 200_000;
/** Longer words come once, and would fill the memory. */
const CACHED_LENGTH = 64;

export interface TokenizedBatch {
  /** (texts, maxLength) token ids, row by row, padded with 0. */
  ids: Int32Array;
  /** (texts, maxLength) 1 for a token, 0 for padding. */
  mask: Int32Array;
  /** (texts) number of tokens before the padding. */
  lengths: Int32Array;
}

/** Turns texts into token ids; `load` reads the vocabulary once. */
export class Tokenizer {
  /** Id of [PAD]. */
  readonly padTokenId = 0;
  /** Id of [DEC], the reference's bos token. */
  readonly bosTokenId = VOCABULARY_SIZE;
  /** Id of [ENC], which replaces [CLS] when image and text are encoded together. */
  readonly encTokenId = VOCABULARY_SIZE + 1;
  readonly clsTokenId: number;
  readonly sepTokenId: number;

  readonly #normalizer = new components.BertNormalizer({
    clean_text: true,
    handle_chinese_chars: true,
    lowercase: true,
  });
  readonly #splitter = new components.BertPreTokenizer();
  readonly #pieces: InstanceType<Components['WordPiece']>;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #specials: ReadonlyMap<string, number>;
  readonly #unknown: number;
  readonly #cache = new Map<string, readonly number[]>();

  private constructor(tokens: readonly string[]) {
    const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
    this.#pieces = new components.WordPiece({
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    });
    this.#ids = new Map(Object.entries(vocab));
    const idOf = (token: string) => get(this.#ids, token);
    this.#specials = new Map([
      ...['[UNK]', '[SEP]', '[PAD]', '[CLS]', '[MASK]'].map((token): [string, number] => [token, idOf(token)]),
      ['[DEC]', this.bosTokenId],
      ['[ENC]', this.encTokenId],
    ]);
    this.#unknown = idOf('[UNK]');
    this.clsTokenId = idOf('[CLS]');
    this.sepTokenId = idOf('[SEP]');
  }

  /**
   * @param options.vocabFile the user's own vocab.txt; by default bert-base-uncased's
   * @throws UserError when the vocabulary cannot be read or has another size
   */
  static load(options: { vocabFile?: string | undefined } = {}): Tokenizer {
    return new Tokenizer(options.vocabFile === undefined ? bertVocabulary() : readVocabulary(options.vocabFile));
  }

  /** Token ids of one text, [CLS] first and [SEP] last, at most `maxLength` of them, without padding. */
  encode(text: string, maxLength: number = MAX_LENGTH): { ids: Int32Array; length: number } {
    const ids = this.#encode(text, maxLength);
    return { ids: Int32Array.from(ids), length: ids.length };
  }

  /** Token ids and masks of many texts, padded or cut to `maxLength`. */
  encodeBatch(texts: readonly string[], maxLength: number = MAX_LENGTH): TokenizedBatch {
    const ids = new Int32Array(texts.length * maxLength).fill(this.padTokenId);
    const mask = new Int32Array(texts.length * maxLength);
    const lengths = new Int32Array(texts.length);
    for (const [row, text] of texts.entries()) {
      const tokens = this.#encode(text, maxLength);
      ids.set(tokens, row * maxLength);
      mask.fill(1, row * maxLength, row * maxLength + tokens.length);
      lengths[row] = tokens.length;
    }
    return { ids, mask, lengths };
  }

  #encode(text: string, maxLength: number): number[] {
    const ids: number[] = [this.clsTokenId];
    // Special tokens are also recognised inside a word, but only in capitals: pre_caption's output never has one.
    const sections = text.includes('[') ? text.split(/(\[(?:UNK|SEP|PAD|CLS|MASK|DEC|ENC)\])/) : [text];
    for (const section of sections) {
      const special = this.#specials.get(section);
      if (special !== undefined) {
        ids.push(special);
        continue;
      }
      for (const word of section.split(' ')) {
        if (word === '') continue;
        for (const id of this.#encodeWord(word)) ids.push(id); // a word of marks alone may have any number of them
        if (ids.length >= maxLength) break;
      }
      if (ids.length >= maxLength) break;
    }
    if (ids.length > maxLength - 1) ids.length = maxLength - 1;
    ids.push(this.sepTokenId);
    return ids;
  }

  /** Ids of a word between two spaces. No step of the pipeline looks across a space, so words can be cached. */
  #encodeWord(word: string): readonly number[] {
    const cached = this.#cache.get(word);
    if (cached !== undefined) return cached;
    const parts = this.#splitter.pre_tokenize_text(this.#normalizer.normalize(prepare(word)));
    const ids = this.#pieces.encode(parts).map((piece) => this.#ids.get(piece) ?? this.#unknown);
    if (word.length > CACHED_LENGTH) return ids;
    if (this.#cache.size >= CACHED_WORDS) this.#cache.clear();
    this.#cache.set(word, ids);
    return ids;
  }
}

const IDEOGRAPHS_ABOVE_BMP = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

/**
 * Corrects three differences of @huggingface/tokenizers 0.2 from Python's BertTokenizer: it keeps unassigned code points
 * (Python drops all of category C), puts spaces only around ideographs of the basic plane, and lowers a final sigma by
 * context (Python lowers letter by letter). Which code points are assigned depends on the Unicode version of the
 * runtime, here as in Python.
 */
function prepare(word: string): string {
  return word
    .replace(/\p{Cn}/gu, '')
    .replace(IDEOGRAPHS_ABOVE_BMP, ' $& ')
    .replaceAll('\u03a3', '\u03c3');
}
