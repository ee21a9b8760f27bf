// The address of an index in PostgreSQL: what pg is given, and what is the index's own.
import { UserError } from '../../errors.js';

/** How the nearest images are found: by comparing all (`exact`), by the HNSW index, or as their number suggests. */
export type SearchKind = 'exact' | 'hnsw' | 'by size';

export interface PostgresAddress {
  /** For pg: the address without the parameters of this program. Holds the password, so it stands in no message. */
  readonly connection: string;
  /** For messages: without the password. */
  readonly name: string;
  readonly table: TableName;
  readonly search: SearchKind;
  /** Candidates of a search by HNSW: more cost time and miss less. */
  readonly efSearch: number;
}

export interface TableName {
  readonly schema: string | undefined;
  readonly table: string;
}

const TABLE = 'blip_images';
/** What pgvector takes at most. A search of a million then takes 20 ms and misses least: encoding the text takes longer. */
const MOST_EF_SEARCH = 1000;
const EF_SEARCH = MOST_EF_SEARCH;

// Names of tables get suffixes, and PostgreSQL cuts names at 63 bytes.
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,49}$/;

const wrong = (what: string, remedy: string) => new UserError(`${what} ${remedy}`, { exitCode: 2 });
const SHAPE = 'Give postgres://USER@HOST:PORT/DATABASE?table=TABLE, with %40 for @ (as encodeURIComponent writes it).';

/** @throws UserError, which does not repeat the address: it may hold a password */
export function parseAddress(address: string): PostgresAddress {
  const [base = '', query = '', ...more] = address.split('?');
  if (!isUrl(base) || more.length > 0 || /[@#]/.test(query) || base.includes('#'))
    throw wrong('The address of the index is no address of PostgreSQL.', SHAPE);
  const parameters = new URLSearchParams(query);
  const own = (key: string) => {
    const values = parameters.getAll(key);
    parameters.delete(key);
    if (values.length > 1)
      throw wrong(`The address of the index has \`${key}\` ${values.length} times.`, 'Give it once.');
    return values[0];
  };
  const table = tableName(own('table') ?? TABLE);
  const search = searchKind(own('search'));
  const efSearch = candidates(own('ef_search'));
  const rest = parameters.toString();
  return {
    connection: rest === '' ? base : `${base}?${rest}`,
    name: shownName(base, parameters, table),
    ...{ table, search, efSearch },
  };
}

/** `postgres://user@/database` has no host: pg takes it, URL does not. */
function isUrl(base: string): boolean {
  return /^postgres(?:ql)?:\/\//i.test(base) && URL.canParse(base.replace('@/', '@host/'));
}

function tableName(text: string): TableName {
  const [table = '', schema, ...more] = text.split('.').reverse();
  if (more.length > 0 || ![table, schema ?? table].every((name) => IDENTIFIER.test(name)))
    throw wrong(
      'The `table` of the index has a name that cannot be used.',
      'Give at most 50 letters, digits and underscores, with a schema before a point where it needs one.',
    );
  return { schema, table };
}

function searchKind(text: string | undefined): SearchKind {
  if (text === undefined) return 'by size';
  if (text === 'exact' || text === 'hnsw') return text;
  throw wrong('`search` in the address of the index is neither of its values.', "Give 'exact' or 'hnsw'.");
}

function candidates(text: string | undefined): number {
  if (text === undefined) return EF_SEARCH;
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= MOST_EF_SEARCH) return count;
  throw wrong(
    '`ef_search` in the address of the index will not do.',
    `Give a whole number from 1 to ${MOST_EF_SEARCH}.`,
  );
}

function shownName(base: string, parameters: URLSearchParams, { schema, table }: TableName): string {
  const start = base.indexOf('//') + 2;
  // After the last @ comes the host; a password ends there, whatever it has in it.
  const end = base.lastIndexOf('@') + 1;
  const user = end === 0 ? '' : (base.slice(start, end - 1).split(':')[0] ?? '');
  const host = parameters.get('host');
  const shown = [
    ...(host === null ? [] : [`host=${host}`]),
    `table=${schema === undefined ? table : `${schema}.${table}`}`,
  ];
  return `postgres://${user === '' ? '' : `${user}@`}${base.slice(Math.max(start, end))}?${shown.join('&')}`;
}
