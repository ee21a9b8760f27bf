// The address of an index in PostgreSQL: what of it is whose, and that no message has the password. Covers index/postgres/address.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { parseAddress } from '#blip/index/postgres/address.js';

const own = (address: string) => {
  const { connection: _, ...others } = parseAddress(address);
  return others;
};
const table = { schema: undefined, table: 'blip_images' };

test('table, search and ef_search are the index’s own; the others are given to pg as they are', () => {
  const parsed = parseAddress('postgres://u:p%40w@h:5433/d?sslmode=require&table=my.Photos&search=exact&ef_search=100');
  assert.deepEqual(parsed, {
    connection: 'postgres://u:p%40w@h:5433/d?sslmode=require',
    name: 'postgres://u@h:5433/d?table=my.Photos',
    table: { schema: 'my', table: 'Photos' },
    search: 'exact',
    efSearch: 100,
  });
  assert.deepEqual(own('postgresql://h/d'), {
    ...{ name: 'postgres://h/d?table=blip_images', table, search: 'by size', efSearch: 1000 },
  });
  assert.equal(parseAddress('postgresql://h/d').connection, 'postgresql://h/d');
});

test('a socket’s folder and an address without a host are taken as pg takes them', () => {
  assert.equal(own('postgres:///d?host=/run/pg&user=u').name, 'postgres:///d?host=/run/pg&table=blip_images');
  assert.equal(own('postgres://u:secret@/d?host=/run/pg').name, 'postgres://u@/d?host=/run/pg&table=blip_images');
});

test('the name for messages has no password, however it is written', () => {
  for (const address of [
    'postgres://u:s3cret@h/d',
    'postgres://u:s3cret:s3cret@h/d',
    'postgres://u:a@s3cret@h/d',
    'postgres://u:s3cret@h/d?password=s3cret',
    'postgres://u@h/d?sslpassword=s3cret&password=s3cret',
    'postgres://:s3cret@h/d',
  ])
    assert.doesNotMatch(parseAddress(address).name, /s3cret/, address);
});

test('an address that will not do is refused, in words that do not repeat it', () => {
  for (const [address, says] of [
    ['postgres://u:s3cret@h:port/d', /no address of PostgreSQL.*encodeURIComponent/],
    ['postgres://u:s3cret?@h/d', /no address/],
    ['postgres://u:1?s3cret@h/d', /no address/],
    ['postgres://u:s3cret#@h/d', /no address/],
    ['mysql://u:s3cret@h/d', /no address/],
    ['postgres://u:s3cret@h/d?table=a;drop', /`table`.*letters, digits and underscores/],
    [`postgres://u:s3cret@h/d?table=${'a'.repeat(51)}`, /`table`/],
    ['postgres://u:s3cret@h/d?table=a.b.c', /`table`/],
    ['postgres://u:s3cret@h/d?table=', /`table`/],
    ['postgres://u:s3cret@h/d?table=a"b', /`table`/],
    ['postgres://u:s3cret@h/d?table=a&table=b', /`table` 2 times/],
    ['postgres://u:s3cret@h/d?search=fast', /`search`.*'exact' or 'hnsw'/],
    ['postgres://u:s3cret@h/d?ef_search=0', /`ef_search`.*1 to 1000/],
    ['postgres://u:s3cret@h/d?ef_search=1;2', /`ef_search`/],
  ] as const)
    assert.throws(
      () => parseAddress(address),
      (error: unknown) => {
        assert.ok(error instanceof UserError);
        assert.equal(error.exitCode, 2);
        assert.match(error.message, says);
        assert.doesNotMatch(error.message, /s3cret/);
        return true;
      },
      address,
    );
});
