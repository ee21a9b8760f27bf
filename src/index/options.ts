// What an index can be asked for, checked once at the door. Mistakes are UserErrors that name the option.
import { checkOptions, functionRule, misuse, type Rule, signalRule, textRule, whole } from '../config/check-options.js';
import { isRecord, kindOf } from '../errors.js';
import { badImageRule, type OnBadImage } from './bad-image.js';
import type { ImageInput } from './encoder.js';
import type { IndexedImage } from './store.js';

/** What an index is searched by: a text, which may also stand alone; an image; a feature; or an image of the index. */
export type Query = string | { text: string } | { image: ImageInput } | { vector: Float32Array } | { id: string };

export interface SearchOptions {
  /** How many images to find, 10 by default. */
  top?: number | undefined;
  /** How many of the most similar ones go through the multimodal encoder with the text, 0 by default. See ImageIndex.search. */
  rerank?: number | undefined;
  /** Images for which it returns false are left out. For an index in a folder. */
  filter?: ((image: IndexedImage) => boolean) | undefined;
  /** A condition in SQL. For an index in PostgreSQL. */
  where?: string | undefined;
  signal?: AbortSignal | undefined;
}

export interface ChangeOptions {
  /** What to do about images that cannot be read: `throw` by default. */
  onBadImage?: OnBadImage | undefined;
  /** Called as images are done: how many are, and of how many. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Stops the work; what was added until then stays. */
  signal?: AbortSignal | undefined;
}

const MOST_NEIGHBOURS = 100_000;

const searchRules: Record<keyof SearchOptions, Rule> = {
  top: whole(MOST_NEIGHBOURS),
  rerank: whole(MOST_NEIGHBOURS, 0),
  filter: functionRule,
  where: textRule,
  signal: signalRule,
};
const changeRules: Record<keyof ChangeOptions, Rule> = {
  onBadImage: badImageRule,
  onProgress: functionRule,
  signal: signalRule,
};

/** @throws UserError that names the option */
export function checkSearchOptions(options: unknown): SearchOptions & { top: number; rerank: number } {
  const checked = checkOptions<SearchOptions>('search', searchRules, options);
  return { ...checked, top: checked.top ?? 10, rerank: checked.rerank ?? 0 };
}

/** @throws UserError that names the option */
export function checkChangeOptions(call: string, options: unknown): ChangeOptions & { onBadImage: OnBadImage } {
  const checked = checkOptions<ChangeOptions>(call, changeRules, options);
  return { ...checked, onBadImage: checked.onBadImage ?? 'throw' };
}

/** @throws UserError for a query that is none, or has several kinds at once */
export function checkQuery(query: unknown, embedDim: number): Exclude<Query, string> {
  const kinds = 'Give a text, or an object with one of `text`, `image`, `vector` and `id`.';
  if (typeof query === 'string') return { text: query };
  if (!isRecord(query)) throw misuse(`The query is ${kindOf(query)}. ${kinds}`);
  const [kind, ...others] = Object.keys(query);
  if (kind === undefined || others.length > 0)
    throw misuse(
      `The query has ${kind === undefined ? 'nothing in it' : `\`${[kind, ...others].join('`, `')}\``}. ${kinds}`,
    );
  const { text, image, vector, id } = query;
  if (kind === 'image') return { image: image as ImageInput }; // checked where images are read
  if (kind === 'vector') return { vector: unitVector(vector, embedDim) };
  for (const [name, value] of Object.entries({ text, id }))
    if (name === kind && typeof value !== 'string')
      throw misuse(`\`${name}\` of the query is ${kindOf(value)}. Give a text.`);
  if (typeof text === 'string') return { text };
  if (typeof id === 'string') return { id };
  throw misuse(`The query has no kind \`${kind}\`. ${kinds}`);
}

/** The vector at unit length. */
function unitVector(vector: unknown, embedDim: number): Float32Array {
  const wanted = `a Float32Array of ${embedDim} numbers, not all of them 0`;
  if (!(vector instanceof Float32Array)) throw misuse(`\`vector\` of the query is ${kindOf(vector)}. Give ${wanted}.`);
  const length = Math.hypot(...vector);
  if (vector.length !== embedDim || !Number.isFinite(length) || length === 0) {
    const what = vector.length !== embedDim ? `has ${vector.length} numbers` : 'has no direction';
    throw misuse(`\`vector\` of the query ${what}. Give ${wanted}.`);
  }
  return Math.abs(length - 1) < 1e-6 ? vector.slice() : vector.map((value) => value / length);
}
