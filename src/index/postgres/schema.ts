// The tables of an index in PostgreSQL: they are made, found again, and refused where they are something else's.
import { codeOf, isRecord, printable, UserError } from '../../errors.js';
import { factsSchema } from '../manifest.js';
import type { IndexFacts } from '../store.js';
import type { PostgresAddress } from './address.js';
import type { Database, Run } from './database.js';
import { NoIndex } from './failures.js';

const FORMAT = 'blip-retrieval index';
const VERSION = 1;
/** Taken while tables are made, so that two who make the same index do not meet. */
const MAKING = 0x626c_6970;
/** First version with HNSW, and the first whose search goes on where a filter leaves too few. */
const HNSW = '0.5';
const ITERATIVE = '0.8';

/** Names as they stand in SQL, quoted. */
export interface Names {
  readonly table: string;
  readonly facts: string;
  /** Of the HNSW index: with its schema, and alone. */
  readonly hnsw: string;
  readonly hnswAlone: string;
  /** Schema of pgvector with a point after it: it may lie outside the search path. */
  readonly vector: string;
  /** Negative inner product: minus the similarity. */
  readonly minusDot: string;
}

export interface Opened {
  readonly names: Names;
  readonly facts: IndexFacts;
  readonly isIterative: boolean;
}

/** @throws NoIndex where there is no index; UserError where there is something else */
export async function openTables(database: Database, address: PostgresAddress): Promise<Opened> {
  return database.transaction('read', async (run) => {
    const opened = await opening(run, address);
    if (opened !== undefined) return opened;
    throw new NoIndex(`There is no index at ${address.name}. Make one with createIndex, or check the address.`);
  });
}

/** Makes the tables where they are not there yet. @throws UserError as openTables, and where pgvector is missing */
export async function makeTables(database: Database, address: PostgresAddress, facts: IndexFacts): Promise<Opened> {
  const before = await database.transaction('read', (run) => opening(run, address));
  if (before !== undefined) return before;
  return database.transaction('write', async (run) => {
    await run('SELECT pg_advisory_xact_lock($1)', [MAKING]);
    const meanwhile = await opening(run, address);
    if (meanwhile !== undefined) return meanwhile;
    const { names, isIterative } = namesFor(address, await extension(run, address.name, true));
    await run(`CREATE TABLE ${names.table} (
      id text COLLATE "C" PRIMARY KEY,
      path text,
      size bigint,
      modified double precision,
      digest text NOT NULL,
      feature ${names.vector}vector(${facts.embedDim}) NOT NULL,
      tokens bytea)`);
    // Tokens do not shrink when compressed, and a feature is read faster where it lies in its row.
    await run(`ALTER TABLE ${names.table} ALTER feature SET STORAGE MAIN, ALTER tokens SET STORAGE EXTERNAL`);
    await run(`CREATE TABLE ${names.facts} (
      one boolean PRIMARY KEY DEFAULT true CHECK (one),
      format text NOT NULL,
      version integer NOT NULL,
      facts json NOT NULL,
      images bigint NOT NULL)`);
    await run(`INSERT INTO ${names.facts} (format, version, facts, images) VALUES ($1, $2, $3, 0)`, [
      ...[FORMAT, VERSION, JSON.stringify(facts)],
    ]);
    return { names, facts, isIterative };
  });
}

/** Undefined where there is no index. @throws UserError where there is something else */
async function opening(run: Run, address: PostgresAddress): Promise<Opened | undefined> {
  const names = namesFor(address, undefined).names;
  const [found] = await run<{ table: boolean; facts: boolean; isFacts: boolean }>(
    `SELECT to_regclass($1) IS NOT NULL AS "table", to_regclass($2) IS NOT NULL AS facts,
       (SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass($2)
          AND attname IN ('format', 'version', 'facts', 'images')) = 4 AS "isFacts"`,
    [names.table, names.facts],
  );
  if (!found?.table && !found?.facts) return undefined;
  const [row] =
    found.table && found.isFacts ? await run<Stored>(`SELECT format, version, facts FROM ${names.facts}`) : [];
  if (row?.format !== FORMAT)
    throw new UserError(`${address.name} is a table of something else. Name another: ?table=… in the address.`);
  const facts = factsSchema().safeParse(isRecord(row.facts) ? row.facts : {});
  if (row.version !== VERSION || !facts.success)
    throw new UserError(
      `The index ${address.name} is of version ${printable(String(row.version))}, and this program knows ${VERSION}. Update blip-retrieval, or make the index again.`,
    );
  return { ...namesFor(address, await extension(run, address.name, false)), facts: facts.data };
}

type Stored = { format: unknown; version: unknown; facts: unknown };

interface Extension {
  readonly version: string;
  /** As SQL writes it. */
  readonly schema: string;
}

/** @throws UserError where pgvector is not there, or too old */
async function extension(run: Run, name: string, mayCreate: boolean): Promise<Extension> {
  const [has] = await run<{ version: string; schema: string }>(
    `SELECT extversion AS version, quote_ident(nspname) AS schema
     FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'`,
  );
  if (has === undefined) {
    if (!mayCreate) throw new UserError(`The extension pgvector has gone from the database of ${name}. ${CREATE}`);
    await create(run, name);
    return extension(run, name, false);
  }
  if (isSince(HNSW, has.version)) return has;
  throw new UserError(
    `The database of ${name} has pgvector ${printable(has.version)}, and the index needs ${HNSW} or newer. Update it: ALTER EXTENSION vector UPDATE.`,
  );
}

/** Of versions such as 0.8.5. */
function isSince(first: string, version: string): boolean {
  return first.localeCompare(version, 'en', { numeric: true }) <= 0;
}

const CREATE = 'Have an administrator run CREATE EXTENSION vector there.';

async function create(run: Run, name: string): Promise<void> {
  const [available] = await run(`SELECT 1 AS one FROM pg_available_extensions WHERE name = 'vector'`);
  if (available === undefined)
    throw new UserError(
      `The server of ${name} does not have pgvector. Install it there: its package is called postgresql-VERSION-pgvector or pgvector.`,
    );
  await run('CREATE EXTENSION vector').catch((error: unknown) => {
    if (codeOf(error) !== '42501') throw error;
    throw new UserError(`The user of ${name} may not create the extension pgvector. ${CREATE}`, { cause: error });
  });
}

/** The parts of `address` are letters, digits and underscores: quoting keeps their case, and words of SQL. */
function namesFor({ table: { schema, table } }: PostgresAddress, extension: Extension | undefined) {
  const prefix = schema === undefined ? '' : `"${schema}".`;
  const vector = extension === undefined ? '' : `${extension.schema}.`;
  const names: Names = {
    table: `${prefix}"${table}"`,
    facts: `${prefix}"${table}_facts"`,
    hnsw: `${prefix}"${table}_hnsw"`,
    hnswAlone: `"${table}_hnsw"`,
    vector,
    minusDot: `OPERATOR(${vector}<#>)`,
  };
  return { names, isIterative: extension !== undefined && isSince(ITERATIVE, extension.version) };
}
