// The checkpoint reader: the zoo of files that PyTorch wrote, then files made by hand for what the zoo lacks.
// Covers torch/checkpoint/read, inspect.
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
  weightsOf,
  writeCheckpoint,
} from '#blip/torch/checkpoint/index.js';
import { checkpointOf, elementsOf, int32, opcodes, refusal, word, writeFile } from '../../helpers/checkpoint-files.js';
import { temporaryFolder } from '../../helpers/files.js';
import { absent, fixture } from '../../helpers/fixtures.js';

interface ZooRow {
  file: string;
  expect: 'load' | 'refuse' | 'either';
  tensors?: Record<string, { shape: number[]; dtype: string; requires_grad: boolean; sum: number; first: number[] }>;
  values?: Record<string, unknown>;
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
    [[1], /a list of 1 entry instead of a dict of tensors/],
    [{ model: 5 }, /"model" is a number, not a state dict/],
    [{ model: { b: [1] } }, /in its "model" "b" is a list of 1 entry, not a tensor/],
    [{ teacher: tensors, epoch: 1 }, /its keys are teacher, epoch\)\. There are tensors in "teacher"\./],
    [{ optimizer: tensors }, /its keys are optimizer\)\. Save/],
    [{}, /empty/],
    [{ model: {} }, /empty/],
  ] as const) {
    await writeCheckpoint(path, value);
    assert.match(
      refusal(path, () => stateDictOf(openCheckpoint(path))),
      sentence,
    );
  }
});

test('weights are found under the keys that people use, and what is no tensor among them is named', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.pth');
  const tensor = { dtype: 'float32', shape: [2], data: new Uint8Array(8) } as const;
  for (const [value, keys] of [
    [{ state_dict: { a: tensor }, epoch: 1 }, ['state_dict']],
    [{ epoch: 1, model_state_dict: { a: tensor }, optimizer_state_dict: { b: tensor } }, ['model_state_dict']],
    [{ net: { a: tensor } }, ['net']],
    [{ module: { a: tensor }, rng: tensor }, ['module']],
    [{ model: { state_dict: { a: tensor } } }, ['model', 'state_dict']],
    [{ model: 'base', state_dict: { module: { a: tensor } } }, ['state_dict', 'module']],
    [{ model: { a: tensor }, state_dict: { b: tensor } }, ['model']],
    [{ a: tensor, epoch: 1 }, []],
  ] as const) {
    await writeCheckpoint(path, value);
    const found = weightsOf(openCheckpoint(path));
    assert.deepEqual([[...found.tensors.keys()], found.keys], [['a'], keys]);
  }
  await writeCheckpoint(path, { model: { a: tensor, steps: 37, names: ['x'], none: null } });
  assert.deepEqual(
    [...weightsOf(openCheckpoint(path)).others],
    [
      ['steps', 'a number'],
      ['names', 'a list of 1 entry'],
      ['none', 'nothing (None)'],
    ],
  );
});

test('objects beside the weights are kept as names, whatever protocol they were written with', () => {
  const golden = (name: string) => {
    const path = fixture(`field/checkpoints/objects_${name}.pth`);
    assert.ok(path !== undefined);
    return openCheckpoint(path);
  };
  for (const name of ['2', '4', 'legacy']) {
    const checkpoint = golden(name);
    assert.deepEqual([...stateDictOf(checkpoint).keys()], ['itm_head.weight', 'itm_head.bias']);
    const { opaque, values } = flattenCheckpoint(checkpoint);
    const named = (key: string) => opaque.get(`objects/${key}`)?.name;
    assert.equal(named('path'), 'pathlib.PosixPath');
    assert.equal(named('enum'), '__main__.Split');
    assert.equal(named('dataclass'), '__main__.Config');
    assert.equal(named('array'), 'numpy.ndarray');
    assert.equal(named('numpy_state/1'), 'numpy.ndarray');
    assert.equal(named('partial'), 'functools.partial');
    assert.equal(named('float8'), 'torch.float8_e4m3fn');
    assert.equal(named('namespace/path'), 'pathlib.PosixPath');
    assert.equal(values.get('objects/namespace/lr'), 0.5);
    assert.equal(values.get('objects/version'), '2.11.0+cu130');
    assert.equal(values.get('objects/keys/<pathlib.PosixPath 2>'), 2);
    assert.equal(opaque.size, 56);
  }
});

test('an object in the place of the weights is named, and a whole module with the way out', (t) => {
  const folder = temporaryFolder(t);
  const whole = fixture('field/checkpoints/whole_module.pth');
  assert.ok(whole !== undefined);
  const sentence =
    /a whole module \(models\.blip_retrieval\.BLIP_Retrieval\).*torch\.save\(\{'model': model\.state_dict\(\)\}/;
  assert.match(
    refusal(whole, () => stateDictOf(openCheckpoint(whole))),
    sentence,
  );
  const module = opcodes('cmy.net\nNet\n)\x81}(', word('_parameters'), '}', word('_modules'), '}ub');
  const legacy = opcodes('(', word('module'), 'cmy.net\nNet\n', word('net.py'), word('class Net: pass'), 'tQ)\x81}b');
  for (const [pickle, pattern] of [
    [opcodes('\x80\x02}', word('model'), module, 's.'), /its "model" is a whole module \(my\.net\.Net\)/],
    [opcodes('\x80\x02}', word('net'), module, 's.'), /its "net" is a whole module/],
    [opcodes('\x80\x02', legacy, '.'), /it holds an object \(my\.net\.Net\)/],
    [opcodes('\x80\x02}', word('model'), 'ceasydict\nEasyDict\n)\x81}b', 's.'), /its "model" is an object \(easydict/],
  ] as const) {
    const path = writeFile(folder, 'x.pth', checkpointOf(pickle));
    assert.match(
      refusal(path, () => stateDictOf(openCheckpoint(path))),
      pattern,
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
