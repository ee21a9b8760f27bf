// The checkpoint reader on what is no checkpoint, or a hostile one: each refusal says what is wrong.
// Covers torch/checkpoint/read.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { flattenCheckpoint, openCheckpoint } from '#blip/torch/checkpoint/index.js';
import { checkpointOf, opcodes, refusal, uint32, word, writeFile, zipOf } from '../../helpers/checkpoint-files.js';
import { temporaryFolder } from '../../helpers/files.js';

test('refusals say what was asked for and that nothing was run', (t) => {
  const folder = temporaryFolder(t);
  const cases: [name: string, pickle: Buffer, sentence: RegExp][] = [
    [
      'global',
      opcodes('\x80\x02cposix\nsystem\n', word('true'), '\x85R.'),
      /asks for posix\.system.*nothing in it was run\.$/,
    ],
    ['stack-global', opcodes('\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.'), /asks for posix\.system/],
    ['extension', opcodes('\x80\x02\x82\x01.'), /opcode EXT1/],
    ['instance', opcodes('\x80\x02(', word('x'), 'ios\nsystem\n.'), /opcode INST/],
    ['attribute', opcodes('\x80\x02ccollections\nOrderedDict\n)R}', word('__class__'), 'K\x01sb.'), /__class__/],
    ['uncallable', opcodes('\x80\x02ctorch\nFloatStorage\n)R.'), /calls torch\.FloatStorage.*nothing in it was run\.$/],
    ['bare tensor', opcodes('\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.'), /bare torch\._utils/],
    ['sparse', opcodes('\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n)R.'), /sparse tensor/],
    ['called dtype', opcodes('\x80\x02ctorch\nfloat32\n)R.'), /calls torch\.float32/],
    ['bytes after the end', opcodes('\x80\x02N.N.'), /has 2 bytes after its end.*nothing in it was run\.$/],
    [
      'way through',
      opcodes('\x80\x04\x8c\x05torch\x8c\x18serialization.os.system2\x93.'),
      /serialization\.os\.system2/,
    ],
    ['member', opcodes('\x80\x02c__builtin__\ngetattr\n', word(''), word('upper'), '\x86R.'), /getattr/],
    [
      'dunder member',
      opcodes('\x80\x02c__builtin__\ngetattr\ncpathlib\nPosixPath\n', word('__globals__'), '\x86R.'),
      /getattr/,
    ],
    ['carried code', opcodes('\x80\x02cdill._dill\n_create_function\n)R.'), /dill\._dill\._create_function/],
    ['numpy', opcodes('\x80\x02cnumpy.testing._private.utils\nrunstring\n)R.'), /runstring/],
    ['partial', opcodes('\x80\x02cfunctools\npartial\ncposix\nsystem\n\x85R.'), /posix\.system/],
    ['extended', opcodes('\x80\x04ccollections\nOrderedDict\n)}\x92cos\nsystem\n.'), /os\.system/],
    [
      'storage of an object',
      opcodes('\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(cmy.code\nStorage\n)RK\x00K\x01\x85K\x01\x85\x89}tR.'),
      /a tensor without a storage/,
    ],
    [
      'type of an object',
      opcodes('\x80\x02(', word('storage'), 'cmy.code\nStorage\n', word('0'), word('cpu'), 'K\x01tQ.'),
      /storage without type/,
    ],
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

test('an object is a name: what is put into it is dropped, and no memory goes to it', (t) => {
  const folder = temporaryFolder(t);
  const open = (pickle: Buffer) => openCheckpoint(writeFile(folder, 'x.pth', checkpointOf(pickle))).root;
  const object = 'cmy.module\nThing\n)\x81';
  const thing = { kind: 'opaque', name: 'my.module.Thing' };
  assert.deepEqual(open(opcodes('\x80\x02', object, word('a'), 'K\x01s.')), thing);
  assert.deepEqual(open(opcodes('\x80\x02', object, '(', word('a'), 'K\x01u}b.')), thing);
  assert.deepEqual(open(opcodes('\x80\x02', object, '(K\x01K\x02e.')), thing);
  assert.deepEqual(open(opcodes('\x80\x02', object, '(}]Ntb.')), thing);
  assert.deepEqual(open(opcodes('\x80\x04cmy.module\nThing\n)}\x92.')), thing);
  assert.deepEqual(open(opcodes('\x80\x02', object, ')R)R.')), thing, 'the result of a call');
  const long = Buffer.alloc(3_000_000, 'a');
  const bytes = { kind: 'opaque', name: 'bytes of 3000000 bytes' };
  assert.deepEqual(open(opcodes('\x80\x03B', uint32(long.length), long, '.')), bytes);
  const text = opcodes('\x80\x02c_codecs\nencode\nX', uint32(long.length), long, word('latin1'), '\x86R.');
  assert.deepEqual(open(text), { kind: 'opaque', name: 'text of 3000000 bytes' });
  const path = writeFile(folder, 'x.pth', checkpointOf(opcodes('\x80\x03B', uint32(long.length + 2), long, '.')));
  assert.match(refusal(path), /ends at byte/);
  // Half a million classes, each once.
  const names = Array.from({ length: 500_000 }, (_, i) => `cmy.module\nThing${i}\n`).join('');
  assert.match(refusal(writeFile(folder, 'x.pth', checkpointOf(opcodes('\x80\x02(', names, 't.')))), /memory/);
});

test("numpy's generators of other versions, which Cython pickles by a function, are names too", (t) => {
  const pickle = opcodes(
    '\x80\x02}(',
    word('seed'),
    'cnumpy.random.bit_generator\n__pyx_unpickle_SeedSequence\ncnumpy.random.bit_generator\nSeedSequence\nK\x01N\x87R',
    word('model'),
    '}u.',
  );
  const path = writeFile(temporaryFolder(t), 'seed.pth', checkpointOf(pickle));
  assert.doesNotThrow(() => openCheckpoint(path));
});

test('what is no checkpoint is named as what it is', (t) => {
  const folder = temporaryFolder(t);
  const index = '{"metadata": {"total_size": 9}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}';
  const safetensors = Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 1]), Buffer.from('{}')]);
  // A header that would take far more memory than it has bytes, in a file of a few megabytes.
  const many = Buffer.from(
    `{${Array.from({ length: 60_000 }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`)}}`,
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(many.length));
  const tar = Buffer.alloc(1024);
  tar.write('ustar', 257);
  const cases: [Uint8Array, RegExp][] = [
    [Buffer.alloc(0), /empty/],
    [Buffer.from('\n <!DOCTYPE html><html></html>'), /web page/],
    [Buffer.from('version https://git-lfs.github.com/spec/v1\n'), /git lfs pull/],
    [Buffer.from(index), /index of weights in several files/],
    [safetensors, /not a safetensors file/],
    [Buffer.concat([length, many]), /far more memory/],
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
