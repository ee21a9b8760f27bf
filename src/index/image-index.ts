// Images that can be searched by text, image or feature: the rows of a store, and the model that they were encoded by.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkList, checkOptions, misuse, signalRule } from '../config/check-options.js';
import { at, isRecord, kindOf, UserError } from '../errors.js';
import type { BadImage } from './bad-image.js';
import { addImages, type Wanted } from './embed-images.js';
import type { Candidate, Encoder, ImageInput, Model } from './encoder.js';
import {
  type ChangeOptions,
  checkChangeOptions,
  checkQuery,
  checkRecallOptions,
  checkSearchOptions,
  type Query,
  type RecallOptions,
  type SearchOptions,
} from './options.js';
import type { Recall } from './recall.js';
import type { IndexedImage, IndexFacts, IndexStore, Neighbour } from './store.js';
import { type SyncReport, syncFolder } from './sync.js';
import { Turns } from './turns.js';

/** An image that was found. */
export interface Hit {
  id: string;
  /** Where its file is. Undefined for an image that was given as bytes. */
  path?: string;
  /** Cosine of its feature and the query's (ITC). From -1 to 1. */
  similarity: number;
  /** Of a match with the text, by the ITM head: from 0 to 1. Of images that were re-ranked. */
  probability?: number;
  /** The ITM logit of a match plus the similarity: what the re-ranked are ordered by. */
  score?: number;
}

/** Counts of images that `add` put into the index. */
export interface ChangeReport {
  added: number;
  /** Ones whose id was in the index. */
  changed: number;
  /** Those that cannot be read and are not in the index. */
  bad: BadImage[];
}

/** An image for `add`, with the id that it shall have. */
export interface NamedImage {
  id: string;
  image: ImageInput;
}

/** An index that is open. It works as long as the retriever that opened it is open. */
export class ImageIndex {
  readonly #store: IndexStore;
  readonly #encoder: Encoder;
  #size = 0;
  #lastSync: SyncReport | undefined;
  #isClosed = false;

  private constructor(store: IndexStore, encoder: Encoder) {
    this.#store = store;
    this.#encoder = encoder;
  }

  /** @throws UserError where the index is of another model */
  static async of(store: IndexStore, encoder: Encoder): Promise<ImageIndex> {
    demandSameModel(store, encoder);
    const index = new ImageIndex(store, encoder);
    index.#size = await store.count();
    return index;
  }

  /** The folder or the address, without a password. */
  get name(): string {
    return this.#store.name;
  }

  get facts(): IndexFacts {
    return this.#store.facts;
  }

  /** Images, when the index was last read or changed. */
  get size(): number {
    return this.#size;
  }

  /** What the last `sync` did, or the one of `createIndex`; undefined where there was none since the index was opened. */
  get lastSync(): SyncReport | undefined {
    return this.#lastSync;
  }

  /**
   * The images most similar to a text, an image, a feature or an image of the index, best first; equal ones by id. Every
   * image is compared, unless `recall` says otherwise. Sees what others have changed.
   *
   * With `rerank`, that many of the most similar go through the multimodal encoder with the text, and come first, by `score`.
   * They need their tokens, or their files as they were: one that has neither stays, without a probability.
   * @throws UserError for a query, an option or an image that will not do; the reason of `options.signal`
   */
  async search(query: Query, options: SearchOptions = {}): Promise<Hit[]> {
    const { top, rerank, filter, where, signal } = checkSearchOptions(options);
    const asked = checkQuery(query, this.#encoder.embedDim);
    if ('image' in asked) this.#encoder.checkImage('`image` of the query', asked.image);
    if (rerank > 0 && !('text' in asked))
      throw misuse('`rerank` needs a text: images are matched with it. Search by a text, or leave `rerank` out.');
    return this.#call(this.search, signal, async (model, either) => {
      await this.#refresh();
      const feature = await this.#feature(model, asked);
      const wanted = Math.max(top, rerank);
      const found = await this.#store.nearest(feature, wanted, { filter, where, signal: either });
      const images = await this.#imagesOf(found);
      const hits = found.map((neighbour, i) => hitOf(neighbour, images[i]));
      const matched =
        'text' in asked && rerank > 0 ? await this.#rerank(model, asked.text, hits, images, rerank) : hits;
      return matched.slice(0, top);
    });
  }

  /**
   * Adds images: paths, whose id is their absolute path, or images with the ids that they shall have. One of an id that is
   * in the index takes its place.
   * @throws UserError for an option or, by `onBadImage`, an image that will not do; the reason of `options.signal`
   */
  async add(images: readonly (string | NamedImage)[], options: ChangeOptions = {}): Promise<ChangeReport> {
    const { onBadImage, onProgress, signal } = checkChangeOptions('add', options);
    checkList('`images`', images, 'paths, or of objects with `id` and `image`');
    const taken = [...images]; // the caller may change the list
    return this.#call(this.add, signal, async (model, either) => {
      const given: { id: string; image: ImageInput }[] = [];
      const turns = new Turns();
      for (const [i, image] of taken.entries()) {
        given.push(this.#named(image, i));
        await turns.rest(either);
      }
      const report: ChangeReport = { added: 0, changed: 0, bad: [] };
      await this.#refresh();
      const before = await this.#store.get(given.map(({ id }) => id));
      let done = 0;
      const wanted = function* (): Generator<Wanted> {
        for (const [i, image] of given.entries()) {
          const count = () => {
            report[before[i] === undefined ? 'added' : 'changed'] += 1;
          };
          yield { ...image, path: typeof image.image === 'string' ? image.image : image.id, done: count };
        }
      };
      const onDone = () => {
        done += 1;
        onProgress?.(done, given.length);
      };
      const window = this.#encoder.window;
      const common = { store: this.#store, model, window, onBadImage, signal: either, onDone };
      report.bad = await this.#changing(() => addImages(wanted(), common));
      await this.#store.settle?.(either);
      return report;
    });
  }

  /** Removes images. @returns how many of these ids were in the index */
  async remove(ids: readonly string[]): Promise<number> {
    checkList('`ids`', ids, 'texts');
    for (const [i, id] of ids.entries())
      if (typeof id !== 'string') throw misuse(`\`ids[${i}]\` is ${kindOf(id)}. Give a text.`);
    return this.#call(this.remove, undefined, () => this.#changing(() => this.#store.remove([...ids])));
  }

  /**
   * Brings the index of a folder to what the folder has: images that are new or changed are encoded, those that have gone
   * are removed, renamed ones are recognised. It can be stopped at any moment, and called again.
   * @throws UserError where the index is not of a folder, or, by `onBadImage`, for an image; the reason of `options.signal`
   */
  async sync(options: ChangeOptions = {}): Promise<SyncReport> {
    const { signal, ...others } = checkChangeOptions('sync', options);
    this.#lastSync = await this.#call(this.sync, signal, async (model, either) => {
      const window = this.#encoder.window;
      const work = () => syncFolder(this.#store, model, window, { ...others, signal: either });
      const report = await this.#changing(work);
      await this.#store.settle?.(either);
      return report;
    });
    return this.#lastSync;
  }

  /** Joins segments and frees the room of removed images. It happens by itself, too. */
  async compact(): Promise<void> {
    await this.#call(this.compact, undefined, () => this.#changing(() => this.#store.compact()));
  }

  /**
   * Which part of the `top` most similar images a search finds: by images of the index, and by `texts`, or without them by
   * made-up queries as far from images as captions are. Each is compared with all images, which takes a while. Undefined
   * where every search compares all: in a folder, and in PostgreSQL with few images.
   */
  async recall(options: RecallOptions = {}): Promise<Recall | undefined> {
    const { top = 10, queries = 16, texts, signal } = checkRecallOptions(options);
    return this.#call(this.recall, signal, async (model, either) => {
      const features = texts && (await Promise.all(texts.map((text) => model.embedText(text))));
      return this.#store.recall?.(top, queries, features, either);
    });
  }

  /** All images, in no fixed order. */
  async *images(options: { signal?: AbortSignal | undefined } = {}): AsyncGenerator<IndexedImage> {
    const { signal } = checkOptions<{ signal?: AbortSignal }>('images', { signal: signalRule }, options);
    this.#demandOpen();
    await this.#refresh();
    yield* this.#store.images(signal);
  }

  /** The image of this id; undefined where there is none. */
  async get(id: string): Promise<IndexedImage | undefined> {
    if (typeof id !== 'string') throw misuse(`\`id\` is ${kindOf(id)}. Give a text.`);
    this.#demandOpen();
    await this.#refresh();
    const [image] = await this.#store.get([id]);
    return image;
  }

  /** Lets go of the index's files. A second call does nothing more. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#store.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #imagesOf(found: readonly Neighbour[]): Promise<(IndexedImage | undefined)[]> {
    const images = found.map(({ image }) => image);
    return images.includes(undefined) ? this.#store.get(found.map(({ id }) => id)) : images;
  }

  async #feature(model: Model, query: Exclude<Query, string>): Promise<Float32Array> {
    if ('text' in query) return model.embedText(query.text);
    if ('image' in query) return model.embedImage(query.image);
    if ('vector' in query) return query.vector;
    const [feature] = await this.#store.features([query.id]);
    if (feature === undefined)
      throw new UserError(`${this.name} has no image ${JSON.stringify(query.id)}. Take the id of one that it has.`);
    return feature;
  }

  /** The first `count` hits by their match with the text, then the others as they were. */
  async #rerank(
    model: Model,
    text: string,
    hits: readonly Hit[],
    images: readonly (IndexedImage | undefined)[],
    count: number,
  ): Promise<Hit[]> {
    const candidates: { hit: Hit; candidate: Candidate }[] = [];
    for (const [i, hit] of hits.slice(0, count).entries()) {
      const candidate = await this.#candidate(at(images, i), hit.id);
      if (candidate !== undefined) candidates.push({ hit, candidate });
    }
    const scores = await model.match(
      text,
      candidates.map(({ candidate }) => candidate),
    );
    const matched: (Hit & { score: number })[] = [];
    for (const [i, { hit }] of candidates.entries()) {
      const score = at(scores, i);
      if (!(score instanceof Error)) matched.push({ ...hit, ...score });
    }
    matched.sort((a, b) => b.score - a.score || b.similarity - a.similarity || (a.id < b.id ? -1 : 1));
    const done = new Set(matched.map(({ id }) => id));
    return [...matched, ...hits.filter(({ id }) => !done.has(id))];
  }

  async #candidate(image: IndexedImage | undefined, id: string): Promise<Candidate | undefined> {
    if (this.facts.keepsTokens) {
      const [tokens, [feature]] = await Promise.all([this.#store.tokens(id), this.#store.features([id])]);
      if (tokens !== undefined && feature !== undefined) return { tokens, feature };
    }
    return image?.path === undefined ? undefined : { path: image.path, digest: image.digest };
  }

  #named(image: unknown, i: number): { id: string; image: ImageInput } {
    const what = `\`images[${i}]\``;
    if (typeof image === 'string') {
      this.#encoder.checkImage(what, image);
      const path = resolve(image);
      return { id: path, image: path };
    }
    if (!isRecord(image))
      throw misuse(`${what} is ${kindOf(image)}. Give a path, or an object with \`id\` and \`image\`.`);
    const { id, image: input } = image;
    if (typeof id !== 'string' || id === '') throw misuse(`\`id\` of ${what} is ${kindOf(id)}. Give a text.`);
    this.#encoder.checkImage(`\`image\` of ${what}`, input);
    if (input instanceof URL && input.protocol === 'file:') return { id, image: fileURLToPath(input) };
    return { id, image: typeof input === 'string' ? resolve(input) : input };
  }

  async #refresh(): Promise<void> {
    await this.#store.refresh();
    this.#size = await this.#store.count();
  }

  /** Runs a change, and counts again however it ends. */
  async #changing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } finally {
      this.#size = await this.#store.count().catch(() => this.#size);
    }
  }

  #call<T>(
    method: (...args: never[]) => unknown,
    signal: AbortSignal | undefined,
    work: (model: Model, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    this.#demandOpen();
    return this.#encoder.call(method, signal, work);
  }

  #demandOpen(): void {
    if (this.#isClosed) throw misuse('The index is closed. Open it again with openIndex.');
  }
}

/** Rounding leaves a unit vector a little too long. */
const clamped = (similarity: number) => Math.max(-1, Math.min(1, similarity));

function hitOf({ id, similarity }: Neighbour, image: IndexedImage | undefined): Hit {
  return { id, ...(image?.path !== undefined && { path: image.path }), similarity: clamped(similarity) };
}

/** @throws UserError, with both sources, where the index was made by another model */
export function demandSameModel({ name, facts }: IndexStore, encoder: Encoder): void {
  const { fingerprint, embedDim, imageSize, source } = encoder;
  if (facts.fingerprint === fingerprint && facts.embedDim === embedDim && facts.imageSize === imageSize) return;
  throw new UserError(
    `The index ${name} was made with ${facts.source}, and the retriever has ${source}, another model: their features cannot be compared. Open ${facts.source}, or make an index with createIndex.`,
  );
}
