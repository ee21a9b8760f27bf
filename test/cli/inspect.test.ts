// The command `inspect`: JSON for programs, a table for people, a sentence for what is no checkpoint.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type InspectOptions, inspectCommand } from '#blip/commands/inspect.js';
import { writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { writeSafetensors } from '#blip/torch/safetensors.js';
import { writeFile } from '../helpers/checkpoint-files.js';
import { temporaryFolder } from '../helpers/files.js';
import { absent, fixture } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyCheckpoint } from '../helpers/tiny-run.js';

async function inspect(path: string, options: InspectOptions): Promise<string> {
  let text = '';
  await inspectCommand(path, options, { write: (part: string) => (text += part) });
  return text;
}

interface Printed {
  format: string;
  tensors: Record<string, { shape: number[]; dtype: string; sum?: number | string | null }>;
  values: Record<string, unknown>;
}

interface ZooRow {
  file: string;
  expect: string;
  tensors: Record<string, { shape: number[]; dtype: string; sum: number }>;
  values: Record<string, unknown>;
}

const zoo = fixture('pth_zoo');

test('JSON of every file of the zoo that loads', async (t) => {
  if (zoo === undefined) return t.skip(absent('pth_zoo'));
  const rows: ZooRow[] = JSON.parse(readFileSync(join(zoo, 'expected.json'), 'utf8'));
  for (const row of rows.filter(({ expect }) => expect === 'load')) {
    const printed: Printed = JSON.parse(await inspect(join(zoo, row.file), { json: true, stats: true }));
    assert.equal(printed.format, row.file.includes('legacy') ? 'legacy' : 'zip');
    assert.deepEqual(printed.values, row.values, row.file);
    assert.deepEqual(Object.keys(printed.tensors), Object.keys(row.tensors), row.file);
    for (const [name, { shape, dtype, sum }] of Object.entries(row.tensors)) {
      const found = printed.tensors[name];
      assert.deepEqual([found?.shape, found?.dtype], [shape, dtype], `${row.file} ${name}`);
      assert.ok(Math.abs(Number(found?.sum) - sum) <= 1e-9 * (1 + Math.abs(sum)), `${row.file} ${name}: ${found?.sum}`);
    }
    const brief: Printed = JSON.parse(await inspect(join(zoo, row.file), { json: true }));
    assert.ok(Object.values(brief.tensors).every((tensor) => !('sum' in tensor)));
  }
});

test('integers keep their digits; numbers that JSON lacks become text', async (t) => {
  const path = join(temporaryFolder(t), 'x.pth');
  const odd = { dtype: 'float32', shape: [2], data: new Uint8Array(Float32Array.of(Number.NaN, 1).buffer) } as const;
  const infinite = { dtype: 'bfloat16', shape: [2], data: Uint8Array.of(0x80, 0xff, 0x80, 0x3f) } as const;
  await writeCheckpoint(path, {
    model: { odd, infinite },
    values: [2n ** 80n, Number.NaN, Number.NEGATIVE_INFINITY, 2 ** 40, true, null, 'a"\n'],
  });
  const text = await inspect(path, { json: true, stats: true });
  const printed: Printed = JSON.parse(text);
  assert.equal(printed.tensors['model/odd']?.sum, 'NaN');
  assert.equal(printed.tensors['model/infinite']?.sum, '-Infinity');
  assert.ok(text.includes('"values/0": 1208925819614629174706176'));
  assert.deepEqual(Object.values(printed.values).slice(1), ['NaN', '-Infinity', 2 ** 40, true, null, 'a"\n']);
});

test('sums of long, strided and empty tensors of every type', async (t) => {
  const path = join(temporaryFolder(t), 'x.pth');
  // Longer than the window of 1 MiB, so that it is read in several pieces.
  const count = 700_001;
  const numbers = Float32Array.from({ length: count }, (_, i) => (i % 7) - 3);
  const halves = new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff, 0x0400]);
  await writeCheckpoint(path, {
    long: { dtype: 'float32', shape: [count], data: new Uint8Array(numbers.buffer) },
    half: { dtype: 'float16', shape: [5], data: new Uint8Array(halves.buffer) },
    wide: { dtype: 'int64', shape: [3], data: new Uint8Array(BigInt64Array.of(-1n, 2n ** 40n, -(2n ** 33n)).buffer) },
    flags: { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 255, 0) },
    complex: { dtype: 'complex64', shape: [1], data: new Uint8Array(8) },
  });
  const { tensors }: Printed = JSON.parse(await inspect(path, { json: true, stats: true }));
  assert.equal(
    tensors.long?.sum,
    numbers.reduce((sum, value) => sum + value, 0),
  );
  assert.equal(tensors.half?.sum, 1 - 2 + 2 ** -24 + 65504 + 2 ** -14);
  assert.equal(tensors.wide?.sum, -1 + 2 ** 40 - 2 ** 33);
  assert.equal(tensors.flags?.sum, 2);
  assert.equal(tensors.complex?.sum, null);
});

test('the table lines up, and shows no control characters of the file', async (t) => {
  const path = join(temporaryFolder(t), 'x.pth');
  const tensor = { dtype: 'float32', shape: [2, 1], data: new Uint8Array(Float32Array.of(1, 2).buffer) } as const;
  await writeCheckpoint(path, {
    model: new Map([
      ['weight', tensor],
      ['\u001b[2Jb', tensor],
    ]),
    note: 'a\u009b\n',
    long: 'x'.repeat(999),
  });
  const lines = (await inspect(path, { stats: true })).split('\n');
  assert.match(lines[0] ?? '', /x\.pth: zip format, \d+ bytes$/);
  assert.deepEqual(lines.slice(2, 6), [
    'tensor            shape   dtype    sum',
    'model/weight      [2, 1]  float32  3',
    'model/\\u001b[2Jb  [2, 1]  float32  3',
    '2 tensors, 4 elements',
  ]);
  assert.equal(lines[7], 'note = "a\\u009b\\n"');
  assert.equal(lines[8], `long = "${'x'.repeat(200)}"…`);
});

test('the metadata of safetensors are values, without control characters', async (t) => {
  const path = join(temporaryFolder(t), 'x.safetensors');
  const tensor = { dtype: 'float32', shape: [1], data: new Uint8Array(4) } as const;
  await writeSafetensors(path, new Map([['weight', tensor]]), { format: 'pt', 'a\x1b[2J': 'b\x07' });
  const { values } = JSON.parse(await inspect(path, { json: true })) as Printed;
  assert.deepEqual(values, { '__metadata__/format': 'pt', '__metadata__/a\x1b[2J': 'b\x07' });
  assert.match(
    await inspect(path, { all: true }),
    /\n\n__metadata__\/format = "pt"\n__metadata__\/a\\u001b\[2J = "b\\u0007"\n$/,
  );
});

test('the program prints it, and ends with 1 and one sentence for a hostile file', async (t) => {
  if (zoo === undefined) return t.skip(absent('pth_zoo'));
  const good = await runCli(['inspect', join(zoo, 'zip.pth'), '--json']);
  assert.equal(good.code, 0);
  assert.equal((JSON.parse(good.stdout) as Printed).format, 'zip');
  const evil = await runCli(['inspect', join(zoo, 'evil_os_system.pth')]);
  assert.equal(evil.code, 1);
  assert.equal(evil.stdout, '');
  assert.match(
    evil.stderr,
    /^error: .*evil_os_system\.pth: the pickle asks for posix\.system, .*nothing in it was run\.\n$/,
  );
  const html = writeFile(temporaryFolder(t), 'x.pth', Buffer.from('<html></html>'));
  assert.match((await runCli(['inspect', html])).stderr, /web page/);
});

test('by default there is what it is, in at most twelve lines', async (t) => {
  const summary = await inspect(await tinyCheckpoint(temporaryFolder(t)), {});
  const lines = summary.trimEnd().split('\n');
  assert.ok(lines.length <= 12, summary);
  assert.match(lines[0] ?? '', /rule_tiny\.pth: zip format, \d+\.\d MB$/);
  assert.match(summary, /^What +BLIP retrieval, vit tiny, images of 96 pixels, queue of 64; weights alone$/m);
  assert.match(summary, /^Tensors +265 tensors of float32, int64, 0 values$/m);
  assert.match(summary, /^Parameters +[\d,]+ trained, [\d,]+ elements in all$/m);
  assert.match(summary, /^Bytes .*momentum copies \d.*text encoder \d/m);
  assert.match(lines.at(-1) ?? '', /--all lists every tensor/);
  const path = join(temporaryFolder(t), 'other.pth');
  const tensor = { dtype: 'float32', shape: [2], data: new Uint8Array(8) } as const;
  await writeCheckpoint(path, { weight: tensor, config: { 'a\u001b[2J': 'b\u009b' } });
  const other = await inspect(path, {});
  assert.match(other, /^What +tensors of another program$/m);
  assert.match(other, /^Config +a\\u001b\[2J "b\\u009b"$/m);
});
