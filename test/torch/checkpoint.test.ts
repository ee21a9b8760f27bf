// The checkpoint reader: the zoo of files that PyTorch wrote, then files made by hand for what the zoo lacks.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import {
  flattenCheckpoint,
  isTensorRef,
  openCheckpoint,
  type PickleValue,
  stateDictOf,
  verifyStorages,
} from '#blip/torch/checkpoint/read.js';
import { writeCheckpoint } from '#blip/torch/checkpoint/write.js';
import {
  checkpointOf,
  elementsOf,
  int32,
  opcodes,
  temporaryFolder,
  uint32,
  word,
  writeFile,
  zipOf,
} from '../helpers/checkpoint-files.js';
import { absent, fixture } from '../helpers/fixtures.js';

interface ZooRow {
  file: string;
  expect: 'load' | 'refuse' | 'either';
  tensors?: Record<string, { shape: number[]; dtype: string; requires_grad: boolean; sum: number; first: number[] }>;
  values?: Record<string, unknown>;
}

/** The message with which `work` refuses; it must name the file. */
function refusal(path: string, work: () => unknown = () => openCheckpoint(path)): string {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof UserError, `not a UserError: ${String(error)}`);
    assert.ok(error.message.includes(path), `names no file: ${error.message}`);
    return error.message;
  }
  return assert.fail(`${path} was accepted`);
}

const marker = '/tmp/pth_zoo_was_executed';
const zoo = fixture('pth_zoo');

test('every file of the zoo is read or refused as it must be', (t) => {
  if (zoo === undefined) return t.skip(absent('pth_zoo'));
  const rows: ZooRow[] = JSON.parse(readFileSync(join(zoo, 'expected.json'), 'utf8'));
  assert.equal(rows.length, 40);
  for (const row of rows) {
    const path = join(zoo, row.file);
    if (row.expect === 'refuse') {
      refusal(path);
    } else if (row.expect === 'load') {
      const { tensors, values } = flattenCheckpoint(openCheckpoint(path));
      assert.deepEqual([...tensors.keys()], Object.keys(row.tensors ?? {}), row.file);
      for (const [name, expected] of Object.entries(row.tensors ?? {})) {
        const tensor = tensors.get(name);
        assert.ok(tensor !== undefined);
        assert.deepEqual(
          [tensor.shape, tensor.dtype, tensor.requiresGrad],
          [expected.shape, expected.dtype, expected.requires_grad],
          `${row.file} ${name}`,
        );
        const elements = elementsOf(path, tensor);
        assert.deepEqual(elements.slice(0, 4), expected.first, `${row.file} ${name}`);
        const sum = elements.reduce((total, element) => total + element, 0);
        assert.ok(Math.abs(sum - expected.sum) <= 1e-9 * (1 + Math.abs(expected.sum)), `${row.file} ${name}: ${sum}`);
      }
      // JSON has no integers beyond 2^53.
      const plain = [...values].map(([key, value]) => [key, typeof value === 'bigint' ? Number(value) : value]);
      assert.deepEqual(Object.fromEntries(plain), row.values, row.file);
    } else {
      try {
        openCheckpoint(path);
      } catch (error) {
        assert.ok(error instanceof UserError, `${row.file}: ${String(error)}`);
      }
    }
  }
  assert.equal(existsSync(marker), false, 'something in the zoo was run');
});

test('integers keep all their digits', (t) => {
  if (zoo === undefined) return t.skip(absent('pth_zoo'));
  const { values } = flattenCheckpoint(openCheckpoint(join(zoo, 'zip.pth')));
  assert.equal(values.get('config/huge'), 2n ** 80n);
  assert.equal(values.get('config/big'), 2 ** 40);
});

test('refusals say what was asked for and that nothing was run', (t) => {
  const folder = temporaryFolder(t);
  const cases: [name: string, pickle: Buffer, sentence: RegExp][] = [
    ['global', opcodes('\x80\x02cposix\nsystem\n', word('true'), '\x85R.'), /asks for posix\.system.*nothing was run/],
    ['stack-global', opcodes('\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.'), /asks for posix\.system/],
    ['module', opcodes('\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81.'), /torch\.nn\.modules\.linear\.Linear/],
    ['extension', opcodes('\x80\x02\x82\x01.'), /opcode EXT1/],
    ['instance', opcodes('\x80\x02(', word('x'), 'ios\nsystem\n.'), /opcode INST/],
    ['attribute', opcodes('\x80\x02ccollections\nOrderedDict\n)R}', word('__class__'), 'K\x01sb.'), /__class__/],
    ['uncallable', opcodes('\x80\x02ctorch\nFloatStorage\n)R.'), /calls torch\.FloatStorage.*nothing was run/],
    ['bare tensor', opcodes('\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.'), /bare torch\._utils/],
    ['sparse', opcodes('\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n)R.'), /sparse tensor/],
    ['float8', opcodes('\x80\x02ctorch\nfloat8_e4m3fn\n.'), /float8_e4m3fn/],
    ['quantised', opcodes('\x80\x02ctorch\nQInt8Storage\n.'), /QInt8Storage/],
    ['deep memo', opcodes('\x80\x02j', uint32(2 ** 31), '.'), /memo 2147483648/],
    ['protocol', opcodes('\x80\x06N.'), /protocol 6/],
    ['leftover', opcodes('\x80\x02NN.'), /leaves values over/],
    ['below the mark', opcodes('\x80\x02]N(a.'), /takes more values/],
    ['unhashable key', opcodes('\x80\x02}}Ns.'), /dict key/],
    ['wide integer', opcodes('\x80\x02\x8b', uint32(2 ** 31 - 1), '.'), /integer of 2147483647 bytes/],
    ['long name', opcodes('\x80\x02c', 'x'.repeat(1000), '\ny\n.'), /name of over 512 bytes/],
    ['odd dict', opcodes('\x80\x02}(Nu.'), /without a value/],
    ['not text', opcodes('\x80\x02c_codecs\nencode\n', word('x'), word('rot13'), '\x86R.'), /latin-1/],
  ];
  for (const [name, pickle, sentence] of cases) {
    assert.match(refusal(writeFile(folder, `${name}.pth`, checkpointOf(pickle))), sentence);
  }
});

/** A pickle that is one float32 tensor over storage 0 of `elements`. */
function tensorPickle(elements: number, offset: number, shape: number[], stride: number[]): Buffer {
  const numbers = (values: number[]) => opcodes('(', ...values.flatMap((value) => ['J', int32(value)]), 't');
  return opcodes(
    '\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((',
    word('storage'),
    'ctorch\nFloatStorage\n',
    word('0'),
    word('cpu'),
    'J',
    int32(elements),
    'tQJ',
    int32(offset),
    numbers(shape),
    numbers(stride),
    '\x89ccollections\nOrderedDict\n)RtR.',
  );
}

test('a tensor must lie inside its storage', (t) => {
  const folder = temporaryFolder(t);
  const storage = { 0: Buffer.alloc(96) };
  const open = (pickle: Buffer) => openCheckpoint(writeFile(folder, 'x.pth', checkpointOf(pickle, storage)));
  for (const [offset, shape, stride] of [
    [0, [6, 4], [4, 1]],
    [23, [1], [1]],
    [23, [1], [1000]],
    [24, [0], [1]],
    [0, [1_000_000, 24], [0, 1]],
    [0, [], []],
  ] as const) {
    const { root } = open(tensorPickle(24, offset, [...shape], [...stride]));
    assert.ok(isTensorRef(root));
    assert.deepEqual([root.shape, root.stride, root.storageOffset], [[...shape], [...stride], offset]);
  }
  for (const [offset, shape, stride] of [
    [0, [6, 5], [4, 1]],
    [1, [6, 4], [4, 1]],
    [24, [1], [1]],
    [25, [0], [1]],
    [-1, [1], [1]],
    [0, [4], [-1]],
    [0, [-4], [1]],
    [0, [2 ** 30, 2 ** 30], [0, 0]],
    [0, [4, 1], [1]],
    [0, new Array(65).fill(1), new Array(65).fill(1)],
  ] as [number, number[], number[]][]) {
    assert.throws(() => open(tensorPickle(24, offset, shape, stride)), UserError, `${offset} [${shape}] [${stride}]`);
  }
  assert.match(
    refusal(join(folder, 'x.pth'), () => open(tensorPickle(25, 0, [1], [1]))),
    /has 96 bytes where/,
  );
  assert.match(
    refusal(join(folder, 'x.pth'), () => open(tensorPickle(2 ** 30, 0, [1], [1]))),
    /more than the whole/,
  );
});

test('what is no checkpoint is named as what it is', (t) => {
  const folder = temporaryFolder(t);
  const safetensors = Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}')]);
  const tar = Buffer.alloc(1024);
  tar.write('ustar', 257);
  const cases: [Uint8Array, RegExp][] = [
    [Buffer.alloc(0), /empty/],
    [Buffer.from('\n <!DOCTYPE html><html></html>'), /web page/],
    [Buffer.from('version https://git-lfs.github.com/spec/v1\n'), /git lfs pull/],
    [safetensors, /safetensors/],
    [Buffer.from([0x1f, 0x8b, 8, 0]), /gunzip/],
    [tar, /tar file/],
    [Buffer.from('hello'), /not a checkpoint/],
    [opcodes('\x80\x02K\x01.'), /bare pickle/],
    [zipOf([{ name: 'word/document.xml', bytes: Buffer.from('x') }]), /without data\.pkl/],
    [
      zipOf([
        { name: 'a/data.pkl', bytes: Buffer.from('x') },
        { name: 'a/constants.pkl', bytes: Buffer.alloc(1) },
      ]),
      /TorchScript/,
    ],
  ];
  for (const [bytes, sentence] of cases) assert.match(refusal(writeFile(folder, 'x.pth', bytes)), sentence);
  assert.match(refusal(folder), /folder/);
  assert.match(refusal(join(folder, 'none.pth')), /does not exist/);
});

test('zip files that torch.save does not write are refused by name', (t) => {
  const folder = temporaryFolder(t);
  const pickle = { name: 'a/data.pkl', bytes: opcodes('\x80\x02N.') };
  const other = { name: 'a/data/0', bytes: Buffer.alloc(4) };
  const cases: [Buffer, RegExp][] = [
    [zipOf([pickle, { ...other, method: 8 }]), /compressed \(deflate\)/],
    [zipOf([pickle, { ...other, flags: 1 }]), /encrypted/],
    [zipOf([pickle, other, other]), /twice/],
    [zipOf([pickle, { ...other, name: 'a/../../x' }]), /outside/],
    [zipOf([pickle, { ...other, name: '/etc/passwd' }]), /outside/],
    [zipOf([pickle, { ...other, name: 'b/data/0' }]), /two folders/],
    [zipOf([pickle, { ...other, crc: 1 }]), /checksum/],
    [zipOf([pickle, { name: 'a/byteorder', bytes: Buffer.from('big') }]), /big-endian/],
    [zipOf([pickle, { name: 'a/byteorder', bytes: Buffer.from('odd') }]), /byteorder/],
    [zipOf([pickle, other]).subarray(0, -1), /cut short/],
    [Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(100)]), /cut short/],
  ];
  for (const [bytes, sentence] of cases) assert.match(refusal(writeFile(folder, 'x.pth', bytes)), sentence);
  const without = zipOf([pickle, other].map((part) => ({ ...part, crc: 0 })));
  assert.equal(openCheckpoint(writeFile(folder, 'x.pth', without)).root, null, 'files without checksums are read');
});

test('containers, sets, bytes, names and NumPy numbers', (t) => {
  const folder = temporaryFolder(t);
  const open = (pickle: Buffer): PickleValue => openCheckpoint(writeFile(folder, 'x.pth', checkpointOf(pickle))).root;
  assert.deepEqual(open(opcodes('\x80\x02c__builtin__\nset\n](K\x01K\x02e\x85R.')), [1, 2]);
  assert.deepEqual(open(opcodes('\x80\x04\x8f(K\x01K\x02\x90.')), [1, 2]);
  assert.deepEqual(open(opcodes('\x80\x04(K\x01K\x02\x91.')), [1, 2]);
  assert.deepEqual(open(opcodes('\x80\x02ctorch\nSize\nK\x01K\x02\x86\x85R.')), [1, 2]);
  assert.deepEqual(
    open(opcodes('\x80\x02c_codecs\nencode\n', word('a\u00ff'), word('latin1'), '\x86R.')),
    Uint8Array.of(97, 255),
  );
  assert.deepEqual(open(opcodes('\x80\x03C\x02ab.')), Uint8Array.of(97, 98));
  assert.deepEqual(
    open(opcodes('\x80\x02}(K\x00K\x01N\x88', word('k'), ']u.')),
    new Map<unknown, unknown>([
      [0, 1],
      [null, true],
      ['k', []],
    ]),
  );
  assert.deepEqual(open(opcodes('\x80\x02}K\x01K\x02\x86Ns.')), new Map([['(1, 2)', null]]));
  assert.deepEqual(open(opcodes('\x80\x02ctorch\nfloat32\n.')), { kind: 'opaque', name: 'torch.float32' });
  assert.deepEqual(open(opcodes('\x80\x02ctorch\ndevice\n', word('cuda'), 'K\x01\x86R.')), {
    kind: 'opaque',
    name: 'torch.device(cuda, 1)',
  });
  const namespace = open(opcodes('\x80\x02cargparse\nNamespace\n)\x81}', word('lr'), 'K\x01sb.'));
  assert.ok(namespace instanceof Map);
  assert.deepEqual([...namespace], [['lr', 1]]);
  assert.deepEqual(
    open(opcodes('\x80\x02ccollections\nOrderedDict\n)R}', word('note'), 'K\x01sb.')),
    new Map(),
    'attributes are no items',
  );
  assert.deepEqual(
    open(opcodes('\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R', word('a'), 'K\x01s.')),
    new Map([['a', 1]]),
  );
  const double = opcodes(
    '\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n',
    word('f8'),
    '\x89\x88\x87R(K\x03',
    word('<'),
    'NNNtb',
  );
  const half = word('\0\0\0\0\0\0\u00e0?');
  assert.equal(open(opcodes(double, 'c_codecs\nencode\n', half, word('latin1'), '\x86R\x86R.')), 0.5);
  assert.deepEqual(
    open(opcodes('\x80\x02](\x8a\x01\xff\x8a\x00\x8a\x09', Buffer.alloc(8), '\x01M\xff\xffJ\xfe\xff\xff\xffe.')),
    [-1, 0, 2n ** 64n, 65535, -2],
  );
});

test('the legacy format checks its storages', (t) => {
  if (zoo === undefined) return t.skip(absent('pth_zoo'));
  const folder = temporaryFolder(t);
  const good = readFileSync(join(zoo, 'legacy.pth'));
  const open = (bytes: Uint8Array) => openCheckpoint(writeFile(folder, 'x.pth', bytes));
  assert.equal(open(Buffer.concat([good, Buffer.alloc(9)])).format, 'legacy');
  for (let cut = 1; cut < good.length; cut += 7)
    assert.throws(() => open(good.subarray(0, -cut)), UserError, `cut ${cut}`);
  const bigEndian = Buffer.from(
    good.toString('latin1').replace('little_endianq\x02\x88', 'little_endianq\x02\x89'),
    'latin1',
  );
  assert.notDeepEqual(bigEndian, good);
  assert.match(
    refusal(join(folder, 'x.pth'), () => open(bigEndian)),
    /big-endian/,
  );
});

test('storages that are parts of others (before torch 0.4) are placed inside them', (t) => {
  const folder = temporaryFolder(t);
  const view = (key: string, offset: number, count: number, size: number) =>
    opcodes(
      'ctorch._utils\n_rebuild_tensor\n((',
      word('storage'),
      'ctorch\nFloatStorage\n',
      word('root'),
      word('cpu'),
      'K\x06',
      opcodes(word(key), 'K', offset, 'K', count, '\x87'),
      'tQK\x00K',
      size,
      '\x85K\x01\x85tR',
    );
  const head = [
    opcodes('\x80\x02\x8a\x0a', Buffer.from('6cfc9c46f9206aa85019', 'hex'), '.'),
    opcodes('\x80\x02M\xe9\x03.'),
    opcodes('\x80\x02}', word('little_endian'), '\x88s.'),
  ];
  const file = (object: Buffer) =>
    Buffer.concat([
      ...head,
      opcodes('\x80\x02', object, '.'),
      opcodes('\x80\x02]', word('root'), 'a.'),
      Buffer.from([6, 0, 0, 0, 0, 0, 0, 0]),
      Buffer.from(Float32Array.of(0, 1, 2, 3, 4, 5).buffer),
    ]);
  const path = writeFile(folder, 'x.pth', file(opcodes(view('a', 1, 3, 3), view('b', 4, 2, 2), '\x86')));
  const { root } = openCheckpoint(path);
  assert.ok(Array.isArray(root));
  assert.deepEqual(
    root.map((tensor) => isTensorRef(tensor) && elementsOf(path, tensor)),
    [
      [1, 2, 3],
      [4, 5],
    ],
  );
  assert.match(
    refusal(path, () => openCheckpoint(writeFile(folder, 'x.pth', file(view('a', 4, 3, 3))))),
    /past the end/,
  );
  assert.match(
    refusal(path, () => openCheckpoint(writeFile(folder, 'x.pth', file(view('a', 4, 2, 3))))),
    /needs 12 bytes/,
  );
});

test('nesting, cycles and shared lists cannot overflow the stack or run on for ever', (t) => {
  const folder = temporaryFolder(t);
  const deep = checkpointOf(opcodes('\x80\x02', ']'.repeat(200_000), 'a'.repeat(199_999), '.'));
  const opened = openCheckpoint(writeFile(folder, 'deep.pth', deep));
  assert.match(
    refusal(opened.path, () => flattenCheckpoint(opened)),
    /nested/,
  );
  const cycle = openCheckpoint(writeFile(folder, 'cycle.pth', checkpointOf(opcodes('\x80\x02]q\x00h\x00a.'))));
  assert.match(
    refusal(cycle.path, () => flattenCheckpoint(cycle)),
    /nested/,
  );
  // Ten references each to a list of ten references each …
  const levels = Array.from({ length: 40 }, (_, level) =>
    opcodes('](', ...new Array<string>(10).fill(`h${String.fromCharCode(level)}`), 'eq', level + 1, '0'),
  );
  const laughs = openCheckpoint(
    writeFile(folder, 'laughs.pth', checkpointOf(opcodes('\x80\x02K\x01q\x000', ...levels, 'h\x28.'))),
  );
  assert.match(
    refusal(laughs.path, () => flattenCheckpoint(laughs)),
    /parts/,
  );
  const many = checkpointOf(opcodes('\x80\x02', '}'.repeat(2_000_000), '.'));
  assert.match(refusal(writeFile(folder, 'many.pth', many)), /memory/);
  const copies = opcodes(
    '\x80\x02](',
    'N'.repeat(100_000),
    'eq\x000(',
    'c__builtin__\nset\nh\x00\x85R'.repeat(10_000),
    't.',
  );
  assert.match(refusal(writeFile(folder, 'copies.pth', checkpointOf(copies))), /memory/);
});

test('the state dict is found, or what is there instead is said', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.pth');
  const tensor = { dtype: 'float32', shape: [2], data: new Uint8Array(8) } as const;
  const tensors = new Map([
    ['b', tensor],
    ['a', tensor],
  ]);
  for (const value of [{ model: tensors, epoch: 3 }, tensors]) {
    await writeCheckpoint(path, value);
    assert.deepEqual([...stateDictOf(openCheckpoint(path)).keys()], ['b', 'a']);
  }
  for (const [value, sentence] of [
    [[1], /no dict of tensors but a list/],
    [{ model: 5 }, /"model" is no state dict but a number/],
    [{ model: { a: tensor, b: [1] } }, /"b" is no tensor but a list/],
    [{ state_dict: tensors, epoch: 1 }, /its keys are state_dict, epoch/],
    [{ model: {} }, /empty/],
  ] as const) {
    await writeCheckpoint(path, value);
    assert.match(
      refusal(path, () => stateDictOf(openCheckpoint(path))),
      sentence,
    );
  }
});

test('large files open without their checksums compared, and verifyStorages compares them', async (t) => {
  const path = join(temporaryFolder(t), 'large.pth');
  const bytes = 65 * 1024 * 1024;
  await writeCheckpoint(path, { model: { w: { dtype: 'uint8', shape: [bytes], data: new Uint8Array(bytes) } } });
  const good = openCheckpoint(path);
  assert.equal(good.verified, false);
  await verifyStorages(good);
  const file = readFileSync(path);
  file[bytes - 5] = 1;
  writeFileSync(path, file);
  await assert.rejects(verifyStorages(openCheckpoint(path)), /large\.pth: the bytes of "data\/0" do not match/);
});
