// Values of the right kind that cannot be, and odd ones that can: sizes, codes, paths, memory that goes away.
// Covers native, every function of native/exports.h.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { findAddon } from '#blip/libtorch/addon-files.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { scope, Tensor } from '#blip/torch/tensor.js';
import { bareTensor, failure } from '../helpers/addon-call.js';
import { runNode } from '../helpers/run-node.js';

const addon = native();
const folder = mkdtempSync(join(tmpdir(), 'blip-addon-'));
const file = join(folder, 'file');
writeFileSync(file, new Uint8Array(64));
const tensor = bareTensor([2]);

after(() => {
  addon.dispose(tensor);
  rmSync(folder, { recursive: true });
});

test('bytes that do not fit a tensor, and tensors that cannot be written', () => {
  const before = addon.liveHandles();
  for (const name of ['writeBytes', 'toBytes'])
    assert.match(
      failure(name, [tensor, new Uint8Array(7)], name).message,
      /expected 8 bytes for (source|destination) but received 7/,
    );
  scope(() => {
    const transposed = ops.transpose(ops.zeros([2, 2]), 0, 1).handle;
    const refused = failure('writeBytes', [transposed, new Uint8Array(16)], 'a transposed tensor');
    assert.match(refused.message, /expected a contiguous tensor on the CPU/);
  });
  assert.throws(() => addon.item(tensor), /item: expected a tensor of one element but received one of 2/);
  assert.equal(addon.liveHandles(), before);
});

test('bytes that do not fit shape and type, and shapes that cannot be', () => {
  const bytes = new Uint8Array(8);
  const refused = (shape: number[], sentence: RegExp) =>
    assert.throws(() => scope(() => ops.fromBytes(bytes, 'float32', shape)), sentence, `[${shape}]`);
  refused([3], /^RangeError: Expected 12 bytes for \[3\] of float32 but received 8\.$/);
  refused([], /Expected 4 bytes/);
  refused([-2], /Expected -8 bytes/);
  refused([-2, -1], /aten::empty/);
  refused([0.5, 4], /aten::empty.*: expected int\[\] for size but received the number 0.5 at index 0/);
  refused([2 ** 51], /Expected \d+ bytes/); // before memory is asked for
});

test('views of bytes: offsets, ranges and types', () => {
  const bytes = ops.zeros([64], { dtype: 'uint8' });
  const refused = (offset: number, code: number, sizes: number[], strides: number[]) =>
    failure('viewBytes', [bytes.handle, offset, code, sizes, strides], `offset ${offset}, [${sizes}] by [${strides}]`)
      .message;
  assert.match(refused(2, 6, [1], [1]), /must be divisible by 4/);
  assert.match(refused(-4, 6, [1], [1]), /from 0 to 64 for byteOffset but received the number -4/);
  assert.match(refused(65, 0, [1], [1]), /for byteOffset/);
  for (const [offset, sizes, strides] of [
    [64, [1], [1]],
    [0, [17], [1]],
    [0, [2], [16]],
    [0, [2 ** 50, 2 ** 50], [0, 1]],
    [0, [2 ** 40, 2], [2 ** 40, 1]],
    [0, [2 ** 31, 2 ** 31], [2 ** 31, 1]],
    [0, [2], [2 ** 51]],
  ] as const)
    assert.match(refused(offset, 6, [...sizes], [...strides]), /out of bounds|overflow/);
  assert.match(refused(0, 6, [2, 2], [1]), /mismatch in length of strides and shape/);
  assert.match(refused(0, 6, [2], [-1]), /Negative strides/);
  for (const sizes of [
    [-1, -1],
    [1, -1],
  ])
    assert.match(refused(0, 6, sizes, [0, 0]), /integers of 0 or more for sizes but received the number -1 at index/);
  for (const code of [12, 13, 14, 16, 1000, -1]) assert.match(refused(0, code, [1], [1]), /for dtype/, `code ${code}`);
  const made = new Tensor(addon.viewBytes(bytes.handle, 4, 6, [2, 3], [3, 1]));
  assert.deepEqual([made.shape, made.strides, made.dtype], [[2, 3], [3, 1], 'float32']);
  for (const tensor of [made, bytes]) tensor.dispose();
});

test('events: of a GPU alone', () => {
  assert.match(
    failure('recordEvent', ['gpu'], 'gpu').message,
    /a device such as 'cpu' .* for device but received the st/,
  );
  assert.match(failure('recordEvent', ['cpu'], 'cpu').message, /nothing is queued on the CPU/);
  assert.match(failure('waitFor', [tensor], 'waitFor').message, /expected an event for event but received a tensor/);
});

test('process groups and reducers that are not there, ranks and ports that cannot be', () => {
  for (const use of [() => addon.barrier(99), () => addon.allReduce(-1, tensor, 'sum')])
    assert.throws(use, /there is no process group with the number -?\d+, or it was destroyed/);
  assert.throws(() => addon.reducerForward(99), /reducerForward: there is no reducer with the number 99/);
  const start = (port: number, rank: number, size: number) =>
    addon.initProcessGroup('127.0.0.1', port, rank, size, true, '', true, 10, 10, '');
  assert.throws(() => start(65536, 0, 1), /for port but received the number 65536/);
  assert.throws(() => start(-1, 0, 1), /for port but received the number -1/);
  assert.throws(() => start(0, 1, 1), /from 0 to 0 for rank but received the number 1/);
  assert.throws(() => start(0, 0, 0), /for worldSize but received the number 0/);
});

test('empty arrays and -0 are no errors', () => {
  const empty = bareTensor([-0, 3]);
  assert.deepEqual(addon.sizes(empty), [0, 3]);
  addon.writeBytes(empty, new Uint8Array(0));
  addon.toBytes(empty, new Uint8Array(0));
  assert.equal(addon.disposeAll([]), 0);
  assert.equal(addon.disposeAll([empty, empty]), 1);
});

test('bytes over shared and resizable memory are read and written', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(12), 4, 8);
  shared.set([0, 0, 128, 63, 0, 0, 0, 64]);
  const made = bareTensor([2]);
  addon.writeBytes(made, shared);
  const out = new Uint8Array(new SharedArrayBuffer(8));
  addon.toBytes(made, out);
  assert.deepEqual([...out], [...shared]);
  addon.dispose(made);
});

test('boot.node says why it cannot open a library', () => {
  const found = findAddon();
  assert.ok(found);
  const odd = { toString: () => assert.fail('an argument was turned into a text') };
  const boot: { open(...args: unknown[]): string | null } = createRequire(import.meta.url)(found.boot);
  assert.match(boot.open(join(folder, 'libabsent.so'), false) ?? '', /libabsent\.so: cannot open shared object file/);
  assert.match(boot.open(file, false) ?? '', /file too short|invalid ELF header/);
  assert.throws(() => boot.open(`${file}\0`, false), /open: expected a path without a null character for path/);
  for (const args of [[], [file], [file, 1], [1, true], [null, true], [file, true, 1], [odd, false]])
    assert.throws(
      () => boot.open(...args),
      /open: expected (a string for path|a boolean for global|at most 2 arguments) but received /,
    );
});

test('what would end or stop the process is refused', async () => {
  const { code, signal, stdout, stderr } = await runNode(`
    import { execFileSync } from 'node:child_process';
    import { imageAddon } from '#blip/data/images/image-addon.js';
    import { mapFile } from '#blip/torch/mapped-file.js';
    const detached = (bytes) => structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    const attempts = {
      threads: () => native.setThreads(1e9),
      'a detached source': () => {
        const bytes = new Uint8Array(4);
        detached(bytes);
        native.writeBytes(ops.float32([1]).handle, bytes);
      },
      'pixels detached while a box is read': () => {
        const [source, out] = [new Uint8Array(3 << 20), new Uint8Array(12)];
        const box = Object.defineProperty([0, 0, 1024, 1024], 0, { get: () => (detached(source), 0) });
        imageAddon().resizeBicubic(source, 1024, 1024, 2, 2, out, box);
      },
      'pixels detached while a matrix is read': () => {
        const [source, out] = [new Uint8Array(3 << 20), new Uint8Array(3 << 20)];
        const matrix = Object.defineProperty([1, 0, 0, 0, 1, 0], 0, { get: () => (detached(out), 1) });
        imageAddon().warpAffine(source, out, 1024, 1024, matrix, 0);
      },
      'a detached destination': () => {
        const bytes = new Uint8Array(4);
        detached(bytes);
        native.toBytes(ops.float32([1]).handle, bytes);
      },
      'a destination that was shrunk away': () => {
        const buffer = new ArrayBuffer(1 << 20, { maxByteLength: 1 << 22 });
        const bytes = new Uint8Array(buffer, 0, 1 << 20);
        buffer.resize(0);
        native.toBytes(ops.zeros([1 << 18]).handle, bytes);
      },
      'a named pipe': () => {
        const path = ${JSON.stringify(join(folder, 'pipe'))};
        execFileSync('mkfifo', [path]);
        mapFile(path);
      },
      'an array that empties itself': () => {
        const sizes = [1, 1, 1];
        Object.defineProperty(sizes, 0, { get: () => ((sizes.length = 1), 1) });
        native.invoke(native.resolve('aten::zeros', '').id, sizes);
      },
      'a fractional operator': () => native.invoke(0.5),
      'an operator far away': () => native.invoke(2 ** 31),
      'a negative operator': () => native.invoke(-1),
      'leaving what was not entered': () => native.leaveAutocast(),
    };
    for (const [name, attempt] of Object.entries(attempts)) {
      try {
        attempt();
        console.log(name, 'was accepted');
      } catch (error) {
        console.log(name + ':', error instanceof Error ? 'refused' : error);
      }
    }
    console.log(Object.keys(attempts).length);
  `);
  assert.deepEqual([code, signal, stderr], [0, null, '']);
  const lines = stdout.trim().split('\n');
  assert.equal(lines.length - 1, Number(lines.at(-1)));
  for (const line of lines.slice(0, -1)) assert.match(line, /: refused$/);
});
