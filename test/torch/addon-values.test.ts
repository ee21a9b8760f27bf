// Values of the right kind that cannot be, and odd ones that can: sizes, offsets, codes, paths, memory that goes away.
// Covers native, every function of native/exports.h.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { findAddon } from '#blip/libtorch/addon-files.js';
import { native } from '#blip/torch/native.js';
import { failure } from '../helpers/addon-call.js';
import { runNode } from '../helpers/run-node.js';

const addon = native();
const folder = mkdtempSync(join(tmpdir(), 'blip-addon-'));
const file = join(folder, 'file');
writeFileSync(file, new Uint8Array(64));
const tensor = addon.fromBytes(new Uint8Array(8), 6, [2]);
const mapping = addon.mapFile(file).handle;

after(() => {
  addon.disposeAll([tensor, mapping]);
  rmSync(folder, { recursive: true });
});

test('sizes and bytes that do not fit each other', () => {
  const before = addon.liveHandles();
  const bytes = new Uint8Array(8);
  assert.throws(() => addon.fromBytes(bytes, 6, [3]), /fromBytes: expected 12 bytes for bytes but received 8/);
  assert.throws(() => addon.fromBytes(bytes, 6, []), /expected 4 bytes/);
  assert.throws(() => addon.fromBytes(bytes, 6, [-2]), /for sizes but received the number -2 at index 0/);
  assert.throws(() => addon.fromBytes(bytes, 6, [2 ** 40, 2 ** 40]), /larger than the address space/);
  assert.throws(() => addon.fromBytes(bytes, 6, [2 ** 51]), /expected \d+ bytes/); // refused before memory is asked for
  assert.throws(() => addon.toBytes(tensor, new Uint8Array(7)), /toBytes: expected 8 bytes for destination/);
  assert.throws(() => addon.item(tensor), /item: expected a tensor of one element but received one of 2/);
  assert.equal(addon.liveHandles(), before);
});

test('an upload of arrays, dtypes and sizes that do not fit each other', () => {
  const before = addon.liveHandles();
  const bytes = new Uint8Array(8);
  const refused = (...values: unknown[]) => failure('upload', [...values, 'cpu'], 'upload').message;
  assert.match(refused([bytes, bytes], [6], [[2]]), /as many dtypes and sizes as arrays/);
  assert.match(refused([bytes], [6], [[2], [2]]), /as many dtypes and sizes as arrays/);
  assert.match(refused([bytes], [6], [[3]]), /upload: expected 12 bytes for an array but received 8/);
  assert.match(refused([bytes], [6], [[-2]]), /for sizes but received an array at index 0/);
  assert.match(refused([bytes], [6], [2]), /for sizes but received the number 2 at index 0/);
  assert.match(refused([bytes], [12], [[8]]), /for dtypes but received the number 12 at index 0/);
  assert.match(
    refused([bytes, new Float32Array(2)], [6, 6], [[2], [2]]),
    /for arrays but received an object at index 1/,
  );
  assert.match(failure('upload', [[bytes], [6], [[2]], 'gpu'], 'upload').message, /for device but received the string/);
  assert.match(
    failure('startReading', [[tensor, mapping]], 'startReading').message,
    /received a mapped file at index 1/,
  );
  assert.match(failure('waitFor', [tensor], 'waitFor').message, /expected an event for event but received a tensor/);
  assert.deepEqual(addon.upload([], [], [], 'cpu'), []);
  assert.equal(addon.liveHandles(), before);
});

test('dtypes without plain elements, and no dtypes at all', () => {
  for (const code of [12, 13, 14, 16, 17, 18, 22, 1000, -1])
    assert.throws(() => addon.fromBytes(new Uint8Array(8), code, [1]), /fromBytes: .* for dtype/, `code ${code}`);
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
  const empty = addon.fromBytes(new Uint8Array(0), 0, [-0, 3]);
  assert.deepEqual(addon.sizes(empty), [0, 3]);
  addon.toBytes(empty, new Uint8Array(0));
  assert.equal(addon.disposeAll([]), 0);
  assert.equal(addon.disposeAll([empty, empty]), 1);
});

test('bytes over shared and resizable memory are read and written', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(12), 4, 8);
  shared.set([0, 0, 128, 63, 0, 0, 0, 64]);
  const made = addon.fromBytes(shared, 6, [2]);
  const out = new Uint8Array(new SharedArrayBuffer(8));
  addon.toBytes(made, out);
  assert.deepEqual([...out], [...shared]);
  addon.dispose(made);
});

test('mapped files: offsets, ranges and paths', () => {
  const refused = (offset: number, code: number, sizes: number[], strides: number[]) =>
    failure('fromMapping', [mapping, offset, code, sizes, strides], `offset ${offset}, [${sizes}] by [${strides}]`)
      .message;
  assert.match(refused(2, 6, [1], [1]), /not aligned to 4 bytes/);
  assert.match(refused(-4, 6, [1], [1]), /for byteOffset but received the number -4/);
  assert.match(refused(64, 6, [1], [1]), /beyond the end of/);
  assert.match(refused(2 ** 51, 0, [1], [1]), /beyond the end of/);
  assert.match(refused(0, 6, [17], [1]), /beyond the end of/);
  assert.match(refused(0, 6, [2], [16]), /beyond the end of/);
  assert.match(refused(0, 6, [2, 2], [1]), /as many strides as sizes/);
  assert.match(refused(0, 6, [2], [-1]), /for strides but received the number -1 at index 0/);
  assert.match(refused(0, 0, [2 ** 50, 2 ** 50], [0, 0]), /larger than the address space/);
  assert.match(refused(0, 0, [2 ** 40, 2], [2 ** 40, 1]), /sizes and strides are larger than the address space/);
  assert.match(failure('mapFile', [join(folder, 'absent')], 'an absent file').message, /cannot open .*: No such file/);
  assert.match(failure('mapFile', [folder], 'a folder').message, /not a regular file/);
  assert.match(failure('mapFile', [`${file}\0.pth`], 'a null character').message, /without a null character/);
  assert.match(failure('mapFile', [''], 'the empty path').message, /cannot open/);
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
    const detached = (bytes) => structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    const attempts = {
      threads: () => native.setThreads(1e9),
      'a buffer detached while sizes are read': () => {
        const bytes = new Uint8Array(1 << 24);
        return native.fromBytes(bytes, 0, Object.defineProperty([], 0, { get: () => (detached(bytes), 1 << 24) }));
      },
      'an array detached while the next is asked for': () => {
        const bytes = new Uint8Array(1 << 24);
        const arrays = Object.defineProperty([bytes], 1, { get: () => (detached(bytes), new Uint8Array(1)) });
        native.upload(arrays, [0, 0], [[1 << 24], [1]], 'cpu');
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
        native.mapFile(path);
      },
      'an array that empties itself': () => {
        const sizes = [1, 1, 1];
        Object.defineProperty(sizes, 0, { get: () => ((sizes.length = 1), 1) });
        native.fromBytes(new Uint8Array(1), 0, sizes);
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
