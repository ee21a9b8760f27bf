// JSON as Python's json takes it, read in pieces of any size.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EncodingDefect, JsonDefect, JsonReader } from '#blip/data/json-reader.js';
import { bytesOf } from '../helpers/bytes-of.js';

const wanted = new Set(['a', 'b', 'c', 'image']);

function read(text: string | Uint8Array, chunk = 5): unknown {
  const reader = new JsonReader(bytesOf(text), wanted, chunk);
  const value = reader.whole(() => reader.value());
  if (!reader.whole(() => reader.atEnd())) reader.fail();
  return value;
}

const plain = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
};

const texts = [
  '[1, -2.5e3, 0, 1E+2, true, false, null, "", "x"]',
  '{"a": "\\u00e9\\n\\"\\\\", "b": [[], {}, {"c": 1}], "c": "日本 😀 é"}',
  ' \r\n\t[ "a" , [ "b" ] ]\n ',
  '"\\ud83d\\ude00"',
  '-0.5',
];
for (const text of texts) {
  test(`is what JSON.parse gives in pieces of any size: ${text}`, () => {
    for (let chunk = 4; chunk < 40; chunk++) assert.deepEqual(plain(read(text, chunk)), JSON.parse(text));
  });
}

test('NaN and Infinity are numbers, anywhere', () => {
  for (let chunk = 4; chunk < 30; chunk++)
    assert.deepEqual(plain(read('[NaN, Infinity, -Infinity, {"a": NaN, "x": -Infinity}]', chunk)), [
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      { a: Number.NaN, x: undefined },
    ]);
});

test('whole numbers are exact', () => {
  assert.deepEqual(read('[9007199254740993, -9007199254740993, 7]'), [9007199254740993n, -9007199254740993n, 7]);
});

test('of equal keys the last counts, and __proto__ is a key like others', () => {
  assert.deepEqual(plain(read('{"a": 1, "__proto__": {"b": 2}, "a": 3}')), { a: 3, ['__proto__']: undefined });
});

test('fields that nobody reads are passed over, however deep they are, but must be JSON', () => {
  const deep = 200_000;
  assert.deepEqual(plain(read(`{"x": ${'['.repeat(deep)}${']'.repeat(deep)}, "a": 1}`)), { x: undefined, a: 1 });
  assert.ok(read(`{"a": ${'['.repeat(deep)}${']'.repeat(deep)}}`));
  assert.throws(() => read('{"x": [1, 2 3]}'), JsonDefect);
});

test('a byte order mark is passed over; other encodings are named', () => {
  assert.deepEqual(read('\ufeff[1]'), [1]);
  assert.throws(() => read(Buffer.from('\ufeff[1]', 'utf16le')), /UTF-16/);
  assert.throws(() => read(Buffer.from('\ufeff[1]', 'utf16le').swap16()), /UTF-16/);
  assert.throws(() => read(Uint8Array.from([0x1f, 0x8b, 8, 0])), /gzip/);
});

test('bytes that are not UTF-8 are refused wherever pieces end', () => {
  const sound = Buffer.from('["é日😀"]');
  for (let chunk = 4; chunk < 20; chunk++) assert.deepEqual(read(sound, chunk), ['é日😀']);
  for (const bad of [[0xff], [0xc3], [0xe6, 0x97], [0x80], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf0, 0x9f, 0x98]]) {
    const text = Buffer.concat([Buffer.from('["ab'), Buffer.from(bad), Buffer.from('cd"]')]);
    for (let chunk = 4; chunk < 20; chunk++) assert.throws(() => read(text, chunk), EncodingDefect, `${bad} ${chunk}`);
  }
});

for (const text of [
  '[NaN',
  '[Nan]',
  '[+1]',
  '[-]',
  '[.5]',
  '[-Inf]',
  '[Infinityx]',
  "['a']",
  '["\u0000"]',
  '[1]\0',
  '[tru',
]) {
  test(`refuses ${JSON.stringify(text)}`, () => {
    for (let chunk = 4; chunk < 12; chunk++) assert.throws(() => read(text, chunk), JsonDefect);
  });
}
