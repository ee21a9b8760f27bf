// safetensors: files of Python's writer, round trips, and headers that lie.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { readSafetensors, readSafetensorsMetadata, writeSafetensors } from '#blip/torch/safetensors.js';
import { writeFile } from '../helpers/checkpoint-files.js';
import { temporaryFolder } from '../helpers/files.js';
import { absent, fixture } from '../helpers/fixtures.js';

test('a file that Python wrote', (t) => {
  const path = fixture('full_base.safetensors');
  const described = fixture('full_base.json');
  if (path === undefined || described === undefined) return t.skip(absent('full_base.safetensors'));
  const tensors = readSafetensors(path);
  assert.ok(tensors.size > 0);
  const size = readFileSync(path).readBigUInt64LE(0);
  const bytes = [...tensors.values()].reduce((sum, { data }) => sum + data.length, 0);
  assert.equal(bytes + Number(size) + 8, readFileSync(path).length);
  for (const { dtype, shape, data } of tensors.values()) {
    if (dtype !== 'float32') continue;
    assert.equal(
      data.length,
      shape.reduce((product, length) => product * length, 4),
    );
    const values = new Float32Array(data.buffer, data.byteOffset, data.length / 4);
    assert.ok(values.every((value) => Number.isFinite(value) && Math.abs(value) < 1e4));
  }
});

test('what is written is read back', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.safetensors');
  const tensors = new Map([
    ['flags', { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) }],
    ['i2t', { dtype: 'float32', shape: [1, 2], data: new Uint8Array(Float32Array.of(0.5, -100).buffer) }],
    ['__proto__', { dtype: 'int64', shape: [], data: new Uint8Array(BigInt64Array.of(-7n).buffer) }],
    ['empty', { dtype: 'float16', shape: [0, 4], data: new Uint8Array() }],
  ] as const);
  await writeSafetensors(path, tensors, { split: 'val' });
  const read = readSafetensors(path);
  assert.deepEqual([...read.keys()].sort(), [...tensors.keys()].sort());
  for (const [name, { dtype, shape, data }] of tensors) {
    const back = read.get(name);
    assert.deepEqual([back?.dtype, back?.shape, back?.data], [dtype, shape, data]);
  }
  assert.deepEqual(readSafetensorsMetadata(path), new Map([['split', 'val']]));
  assert.equal(Number(readFileSync(path).readBigUInt64LE(0)) % 8, 0);
  await writeSafetensors(path, new Map());
  assert.equal(readSafetensors(path).size, 0);
  const wrong = new Map([['x', { dtype: 'float32', shape: [2], data: new Uint8Array(4) }]] as const);
  await assert.rejects(writeSafetensors(path, wrong), /has 8 bytes, not 4/);
  assert.deepEqual(readdirSync(folder), ['x.safetensors']);
});

test('headers that lie are refused', (t) => {
  const folder = temporaryFolder(t);
  const file = (header: string, bytes = 8, length = Buffer.byteLength(header)) => {
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(BigInt(length));
    return Buffer.concat([head, Buffer.from(header), Buffer.alloc(bytes)]);
  };
  const entry = (shape: string, offsets: string, dtype = '"F32"') =>
    `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
  const one = (text: string) => file(`{"a":${text}}`);
  assert.equal(readSafetensors(writeFile(folder, 'x', one(entry('[2]', '[0,8]')))).size, 1);
  const cases: [Buffer, RegExp][] = [
    [Buffer.alloc(5), /too short/],
    [Buffer.alloc(100, 0xff), /not a safetensors file/],
    [file('{}', 0, 50), /cut short/],
    [file('[]', 0), /not a JSON object/],
    [file('{"a":', 0), /not JSON/],
    [file('"text"', 0), /not a JSON object/],
    [file('{"__metadata__":{}}', 8), /8 bytes after/],
    [one('5'), /no description/],
    [one(entry('[2]', '[0,8]', '"F8_E4M3"')), /F8_E4M3/],
    [one(entry('[2]', '[0,8]', 'null')), /type null/],
    [one(entry('[3]', '[0,8]')), /8 bytes where its shape needs 12/],
    [one(entry('[4294967296,4294967296,0.5]', '[0,8]')), /shape/],
    [one(entry('[4503599627370496,4503599627370496]', '[0,8]')), /its shape needs/],
    [one(entry('[-2]', '[0,8]')), /shape/],
    [one(entry('2', '[0,8]')), /shape/],
    [one(entry('[2]', '[8,0]')), /offsets/],
    [one(entry('[2]', '[0]')), /offsets/],
    [one(entry('[2]', '[0,8,9]')), /offsets/],
    [one(entry('[1]', '[4,8]')), /overlap or leave gaps/],
    [file(`{"a":${entry('[2]', '[0,8]')},"b":${entry('[1]', '[4,8]')}}`), /overlap or leave gaps/],
    [file(`{"a":${entry('[2]', '[0,8]')}}`, 4), /ends 4 bytes before/],
  ];
  for (const [bytes, sentence] of cases) {
    const path = writeFile(folder, 'x', bytes);
    const named = (error: unknown) =>
      error instanceof UserError && error.message.includes(path) && sentence.test(error.message);
    assert.throws(() => readSafetensors(path), named, sentence.source);
  }
  assert.throws(() => readSafetensors(join(folder, 'none')), /does not exist/);
  const path = writeFile(folder, 'gone', one(entry('[2]', '[0,8]')));
  const tensor = readSafetensors(path).get('a');
  writeFile(folder, 'gone', file(''));
  assert.throws(() => tensor?.data, UserError);
});
