// An index in PostgreSQL with pgvector: a row for each image, for several machines that search and write at once.
import { UserError } from '../../errors.js';
import { type Recall, recallOf } from '../recall.js';
import type { EmbeddedImage, IndexedImage, IndexFacts, IndexStore, NearestOptions, Neighbour } from '../store.js';
import { type PostgresAddress, parseAddress } from './address.js';
import { Database, type Run } from './database.js';
import { isRefusal, says } from './failures.js';
import { buildHnsw, hasHnsw } from './hnsw.js';
import {
  COLUMNS,
  demandStorable,
  featureOf,
  IMAGE_COLUMNS,
  type ImageRow,
  imageOf,
  isId,
  valuesOf,
  vectorBytes,
} from './rows.js';
import { makeTables, type Names, type Opened, openTables } from './schema.js';

/** From as many images on, HNSW: comparing all of fewer takes less than a quarter of a second (docs/search.md). */
const HNSW_FROM = 300_000;
/** More neighbours than this are found by comparing all: HNSW gives at most its candidates. */
const MOST_BY_HNSW = 500;
const MOST_CANDIDATES = 1000;
/** Rows that a search with a filter looks at before it compares all. */
const MOST_SCANNED = 100_000;
/** A condition of somebody else's may be slow. */
const FILTER_SECONDS = 30;

/** Rows of a statement: PostgreSQL takes 65,535 values; and bytes of tokens, which it holds in memory. */
const ROWS = 500;
const BYTES = 16 * 2 ** 20;
/** Rows that are read, or ids that are asked for, at a time. */
const PAGE = 5000;

/** @throws UserError where there is no index, or no server, or pg is missing */
export async function openPostgresStore(address: string): Promise<IndexStore> {
  return opened(address, openTables);
}

/** Opens the index; makes it where it is not there yet. Other facts than `facts` are the caller's to refuse. @throws as openPostgresStore */
export async function createPostgresStore(address: string, facts: IndexFacts): Promise<IndexStore> {
  return opened(address, (database, parsed) => makeTables(database, parsed, facts));
}

async function opened(
  address: string,
  tables: (database: Database, address: PostgresAddress) => Promise<Opened>,
): Promise<IndexStore> {
  const parsed = parseAddress(address);
  const database = await Database.at(parsed);
  try {
    return new PostgresStore(database, parsed, await tables(database, parsed));
  } catch (error) {
    await database.close();
    throw error;
  }
}

class PostgresStore implements IndexStore {
  readonly facts: IndexFacts;
  readonly name: string;
  readonly #database: Database;
  readonly #address: PostgresAddress;
  readonly #names: Names;
  readonly #isIterative: boolean;

  constructor(database: Database, address: PostgresAddress, { facts, names, isIterative }: Opened) {
    this.facts = facts;
    this.name = address.name;
    this.#database = database;
    this.#address = address;
    this.#names = names;
    this.#isIterative = isIterative;
  }

  async count(): Promise<number> {
    return (await this.#state(this.#database.query)).images;
  }

  /** By id, a page at a time: no transaction is open meanwhile. */
  async *images(signal?: AbortSignal): AsyncGenerator<IndexedImage> {
    let last: string | undefined;
    for (;;) {
      const rows = await this.#database.session(
        (run) =>
          run<ImageRow>(
            `SELECT ${IMAGE_COLUMNS} FROM ${this.#names.table} WHERE $1::text IS NULL OR id > $1 ORDER BY id LIMIT ${PAGE}`,
            [last],
          ),
        signal,
      );
      yield* rows.map(imageOf);
      last = rows.at(-1)?.id;
      if (rows.length < PAGE) return;
    }
  }

  async get(ids: readonly string[]): Promise<(IndexedImage | undefined)[]> {
    const rows = await this.#byId<ImageRow>(ids, IMAGE_COLUMNS);
    return rows.map((row) => row && imageOf(row));
  }

  async features(ids: readonly string[]): Promise<(Float32Array | undefined)[]> {
    const { vector } = this.#names;
    const rows = await this.#byId<{ id: string; bytes: Buffer }>(ids, `id, ${vector}vector_send(feature) AS bytes`);
    return rows.map((row) => row && featureOf(row.bytes));
  }

  async tokens(id: string): Promise<Uint8Array | undefined> {
    const [row] = await this.#byId<{ id: string; tokens: Buffer | null }>([id], 'id, tokens');
    return row?.tokens ?? undefined;
  }

  async append(images: readonly EmbeddedImage[]): Promise<void> {
    const latest = [...new Map(images.map((image) => [image.id, image])).values()];
    if (latest.length === 0) return;
    latest.forEach(demandStorable);
    // In one order, so that writers who replace the same images wait for each other, and none for ever.
    latest.sort((a, b) => (a.id < b.id ? -1 : 1));
    await this.#database.transaction('write', async (run) => {
      let added = 0;
      for (const part of parts(latest)) {
        const rows = await run<{ added: boolean }>(this.#insertion(part.length), part.flatMap(valuesOf));
        added += rows.filter((row) => row.added).length;
      }
      await this.#counted(run, added);
    });
  }

  remove(ids: readonly string[]): Promise<number> {
    return this.#database.transaction('write', async (run) => {
      let removed = 0;
      const sorted = [...new Set(ids.filter(isId))].sort();
      for (const page of pages(sorted)) {
        const sql = `DELETE FROM ${this.#names.table} WHERE id = ANY($1::text[]) RETURNING true AS gone`;
        removed += (await run(sql, [page])).length;
      }
      if (removed > 0) await this.#counted(run, -removed);
      return removed;
    });
  }

  /** Compares all images, or searches the HNSW index; that misses some, and `recall` tells how many. */
  async nearest(query: Float32Array, k: number, options: NearestOptions = {}): Promise<Neighbour[]> {
    const { filter, signal } = options;
    if (filter !== undefined)
      throw new UserError('`filter` is for an index in a folder. Give `where`, in SQL, to one in PostgreSQL.', {
        exitCode: 2,
      });
    const { where } = options;
    // PostgreSQL would end the connection over it.
    if (where?.includes('\0')) throw conditionWrong('it has a NUL character');
    return this.#nearest(query, k, where, 'as fits', signal);
  }

  /** Undefined where all images are compared. See recallOf. */
  async recall(
    top: number,
    queries: number,
    texts?: readonly Float32Array[],
    signal?: AbortSignal,
  ): Promise<Recall | undefined> {
    const state = await this.#state(this.#database.query);
    if (!this.#usesHnsw(state, top)) return undefined;
    const { table, vector } = this.#names;
    // Pages of the table at random, and rows of these: a whole table would take long.
    const percent = Math.min(100, Math.max(0.1, (100 * 50 * queries) / state.images));
    const rows = await this.#database.query<{ bytes: Buffer }>(
      `SELECT ${vector}vector_send(feature) AS bytes FROM ${table} TABLESAMPLE SYSTEM ($1) ORDER BY random() LIMIT $2`,
      [percent, queries],
    );
    const sample = rows.map(({ bytes }) => featureOf(bytes));
    return recallOf(sample, texts, top, (feature, k, kind) => this.#nearest(feature, k, undefined, kind, signal));
  }

  /** Every call sees what is committed. */
  async refresh(): Promise<void> {}

  /** After many changes: makes the HNSW index where there are so many images that searches want one. */
  async settle(signal?: AbortSignal): Promise<void> {
    const { search } = this.#address;
    const { images, hasIndex } = await this.#state(this.#database.query);
    if (search === 'exact' || hasIndex || images < (search === 'hnsw' ? 1 : HNSW_FROM)) return;
    try {
      await buildHnsw(this.#database, this.#names, images, signal);
    } catch (error) {
      // Only who owns the table may. Until then all images are compared, which is slower and misses none.
      if (!(error instanceof UserError && isRefusal(error.cause) && error.cause.code === '42501')) throw error;
    }
  }

  /** Frees the room of removed images, counts anew, as somebody may have removed rows by hand, and settles. */
  async compact(): Promise<void> {
    const { table, facts } = this.#names;
    await this.#database.query(`VACUUM (ANALYZE) ${table}`);
    await this.#database.transaction('write', async (run) => {
      await run(`SELECT 1 FROM ${facts} FOR UPDATE`);
      await run(`UPDATE ${facts} SET images = (SELECT count(*) FROM ${table})`);
    });
    await this.settle();
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  #usesHnsw({ images, hasIndex }: State, k: number): boolean {
    const { search } = this.#address;
    const from = search === 'exact' ? Number.POSITIVE_INFINITY : search === 'hnsw' ? 0 : HNSW_FROM;
    return hasIndex && images >= from && k <= MOST_BY_HNSW;
  }

  async #nearest(
    query: Float32Array,
    k: number,
    where: string | undefined,
    kind: 'as fits' | 'exact',
    signal: AbortSignal | undefined,
  ): Promise<Neighbour[]> {
    const values = [vectorBytes(query), k];
    const search = async (run: Run) => {
      await run(
        `SET LOCAL jit = off${where === undefined ? '' : `; SET LOCAL statement_timeout = '${FILTER_SECONDS}s'`}`,
      );
      const state = await this.#state(run);
      const isIndexed = kind === 'as fits' && this.#usesHnsw(state, k) && (where === undefined || this.#isIterative);
      const statement = (isExact: boolean) =>
        run<{ id: string; similarity: number }>(this.#selection(where, isExact), values).catch((error: unknown) => {
          throw where === undefined ? error : conditionError(error);
        });
      if (isIndexed) {
        await run(this.#settings(k, where));
        const found = await statement(false);
        // A filter that leaves few rows, or rows that were removed, may leave less than there is.
        if (found.length === Math.min(k, state.images)) return found;
      }
      return statement(true);
    };
    return this.#database.transaction('read', search, signal);
  }

  #settings(k: number, where: string | undefined): string {
    const candidates = Math.min(Math.max(this.#address.efSearch, 2 * k), MOST_CANDIDATES);
    const settings = [`SET LOCAL hnsw.ef_search = ${candidates}`];
    if (where === undefined) settings.push('SET LOCAL enable_seqscan = off');
    else
      settings.push(`SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL hnsw.max_scan_tuples = ${MOST_SCANNED}`);
    return settings.join('; ');
  }

  /** `where` stands on lines of its own, so that a comment in it ends there. */
  #selection(where: string | undefined, isExact: boolean): string {
    const { table, vector, minusDot } = this.#names;
    const condition = where === undefined ? '' : `WHERE (\n${where}\n)`;
    const dot = `feature ${minusDot} $1::${vector}vector`;
    // With something added, the HNSW index does not fit.
    const [distance, order] = isExact ? [`(${dot}) + 0`, 'distance, id'] : [dot, 'distance'];
    return `SELECT id, -distance AS similarity FROM (
      SELECT id, ${distance} AS distance FROM ${table} ${condition} ORDER BY ${order} LIMIT $2
    ) AS nearest ORDER BY distance, id`;
  }

  #insertion(rows: number): string {
    const width = COLUMNS.length;
    const places = Array.from({ length: rows }, (_, r) => `(${COLUMNS.map((_, c) => `$${r * width + c + 1}`).join()})`);
    const replaced = COLUMNS.slice(1).map((column) => `${column} = EXCLUDED.${column}`);
    // A row that was there has a transaction in xmax: the one that replaces it.
    return `INSERT INTO ${this.#names.table} (${COLUMNS.join()}) VALUES ${places.join()}
      ON CONFLICT (id) DO UPDATE SET ${replaced.join()} RETURNING (xmax = 0) AS added`;
  }

  /** Last in its transaction: other writers wait from here until it is committed. */
  async #counted(run: Run, more: number): Promise<void> {
    await run(`UPDATE ${this.#names.facts} SET images = images + $1`, [more]);
  }

  async #state(run: Run): Promise<State> {
    const sql = `SELECT images::float8 AS images, ${hasHnsw(this.#names)} AS "hasIndex" FROM ${this.#names.facts}`;
    const [state] = await run<State>(sql);
    if (state === undefined)
      throw new UserError(`The index ${this.name} is damaged: its facts are gone. Make it again.`);
    return state;
  }

  /** The rows of these ids, in their order. */
  async #byId<Row extends { id: string }>(ids: readonly string[], columns: string): Promise<(Row | undefined)[]> {
    const found = new Map<string, Row>();
    for (const page of pages(ids.filter(isId))) {
      const sql = `SELECT ${columns} FROM ${this.#names.table} WHERE id = ANY($1::text[])`;
      for (const row of await this.#database.query<Row>(sql, [page])) found.set(row.id, row);
    }
    return ids.map((id) => found.get(id));
  }
}

type State = { images: number; hasIndex: boolean };

/** A mistake in `where` as a sentence; other errors as they are. */
function conditionError(error: unknown): unknown {
  if (!isRefusal(error)) return error;
  const fail = (sentence: string) => new UserError(sentence, { exitCode: 2, cause: error });
  if (error.code === '57014')
    return fail(
      `The condition in \`where\` took more than ${FILTER_SECONDS} s. Give a simpler one, or an index to its columns.`,
    );
  if (!/^(?:0A|22|25|2F|42|P0)/.test(error.code)) return error;
  return conditionWrong(says(error), error);
}

const conditionWrong = (what: string, cause?: unknown) =>
  new UserError(`The condition in \`where\` will not do: ${what}. It may use id, path, size, modified and digest.`, {
    exitCode: 2,
    cause,
  });

function* pages(ids: readonly string[]): Generator<string[]> {
  for (let start = 0; start < ids.length; start += PAGE) yield ids.slice(start, start + PAGE);
}

function* parts(images: readonly EmbeddedImage[]): Generator<EmbeddedImage[]> {
  let part: EmbeddedImage[] = [];
  let bytes = 0;
  for (const image of images) {
    const more = image.tokens?.byteLength ?? 0;
    if (part.length === ROWS || (part.length > 0 && bytes + more > BYTES)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(image);
    bytes += more;
  }
  yield part;
}
