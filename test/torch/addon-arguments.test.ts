// Wrong use of every function of the addon: an Error that names function and argument, never a crash or a guess.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { addonFolder } from '#blip/torch/load.js';
import { native } from '#blip/torch/native.js';
import { runNode } from '../helpers/run-node.js';

const addon = native();
const folder = mkdtempSync(join(tmpdir(), 'blip-addon-'));
const file = join(folder, 'file');
writeFileSync(file, new Uint8Array(64));

const tensor = addon.fromBytes(new Uint8Array(8), 6, [2]);
const leaf = addon.fromBytes(new Uint8Array(4), 6, []);
const generator = addon.createGenerator(1);
const mapping = addon.mapFile(file).handle;
const stale = addon.alias(tensor);
addon.dispose(stale);
const state = addon.generatorState(generator);

/** A process group of this process alone, on a port that was free just now. */
const probe = createServer().listen(0, '127.0.0.1');
await once(probe, 'listening');
const address = probe.address();
const port = typeof address === 'object' && address !== null ? address.port : 0;
await new Promise((closed) => probe.close(closed));
const group = addon.initProcessGroup('127.0.0.1', port, 0, 1, true, '', true, 10_000, 10_000, '');

after(() => {
  addon.destroyProcessGroup(group, 0);
  addon.disposeAll([tensor, leaf, generator, mapping, state]);
  rmSync(folder, { recursive: true });
});

type Kind = 'tensor' | 'generator' | 'mapping' | 'handle' | 'integer' | 'string' | 'boolean' | 'bytes' | 'array';

/** Arguments of every export, and values that fit. */
const FUNCTIONS: Record<string, [name: string, kind: Kind, fitting: unknown][]> = {
  resolve: [
    ['name', 'string', 'aten::add'],
    ['overload', 'string', 'Tensor'],
  ],
  dispose: [['handle', 'handle', stale]],
  disposeAll: [['handles', 'array', [stale]]],
  liveHandles: [],
  isLive: [['handle', 'handle', tensor]],
  sizes: [['tensor', 'tensor', tensor]],
  strides: [['tensor', 'tensor', tensor]],
  dtype: [['tensor', 'tensor', tensor]],
  device: [['tensor', 'tensor', tensor]],
  nbytes: [['tensor', 'tensor', tensor]],
  dataPointer: [['tensor', 'tensor', tensor]],
  alias: [['tensor', 'tensor', tensor]],
  item: [['tensor', 'tensor', leaf]],
  fromBytes: [
    ['bytes', 'bytes', new Uint8Array(8)],
    ['dtype', 'integer', 6],
    ['sizes', 'array', [2]],
  ],
  toBytes: [
    ['tensor', 'tensor', tensor],
    ['destination', 'bytes', new Uint8Array(8)],
  ],
  mapFile: [['path', 'string', file]],
  fromMapping: [
    ['mapping', 'mapping', mapping],
    ['byteOffset', 'integer', 0],
    ['dtype', 'integer', 6],
    ['sizes', 'array', [2]],
    ['strides', 'array', [1]],
  ],
  requiresGrad: [['tensor', 'tensor', tensor]],
  setRequiresGrad: [
    ['tensor', 'tensor', tensor],
    ['flag', 'boolean', false],
  ],
  isLeaf: [['tensor', 'tensor', tensor]],
  grad: [['tensor', 'tensor', tensor]],
  clearGrad: [['tensor', 'tensor', tensor]],
  backward: [
    ['tensor', 'tensor', leaf],
    ['retainGraph', 'boolean', false],
  ],
  manualSeed: [['seed', 'integer', 1]],
  createGenerator: [['seed', 'integer', 1]],
  defaultGenerator: [['device', 'string', 'cpu']],
  generatorState: [['generator', 'generator', generator]],
  setGeneratorState: [
    ['generator', 'generator', generator],
    ['state', 'tensor', state],
  ],
  seedGenerator: [
    ['generator', 'generator', generator],
    ['seed', 'integer', 1],
  ],
  setGradEnabled: [['flag', 'boolean', true]],
  enterAutocast: [
    ['device', 'string', 'cpu'],
    ['dtype', 'integer', 15],
  ],
  leaveAutocast: [],
  setTf32: [['allowed', 'boolean', false]],
  getThreads: [],
  setThreads: [['threads', 'integer', 1]],
  version: [],
  parallelInfo: [],
  deviceCount: [],
  deviceName: [['index', 'integer', 0]],
  setDevice: [['index', 'integer', 0]],
  synchronize: [['index', 'integer', 0]],
  deviceMemory: [['index', 'integer', 0]],
  resetPeakMemory: [['index', 'integer', 0]],
  emptyCache: [],
  mirrorRows: [
    ['pixels', 'bytes', new Uint8Array(12)],
    ['width', 'integer', 2],
    ['height', 'integer', 2],
  ],
  channelHistograms: [['pixels', 'bytes', new Uint8Array(12)]],
  lookUp: [
    ['pixels', 'bytes', new Uint8Array(12)],
    ['tables', 'bytes', new Uint8Array(768)],
  ],
  warpAffine: [
    ['source', 'bytes', new Uint8Array(12)],
    ['destination', 'bytes', new Uint8Array(12)],
    ['width', 'integer', 2],
    ['height', 'integer', 2],
    ['matrix', 'array', [1, 0, 0, 0, 1, 0]],
    ['fill', 'integer', 0],
  ],
  initProcessGroup: [
    ['host', 'string', '127.0.0.1'],
    ['port', 'integer', port],
    ['rank', 'integer', 0],
    ['worldSize', 'integer', 1],
    ['server', 'boolean', true],
    ['prefix', 'string', ''],
    ['loopback', 'boolean', true],
    ['joinTimeoutMs', 'integer', 10_000],
    ['timeoutMs', 'integer', 10_000],
    ['nccl', 'string', ''],
  ],
  destroyProcessGroup: [
    ['group', 'integer', group],
    ['patienceMs', 'integer', 0],
  ],
  dieWithParent: [['pid', 'integer', 1]],
  allReduce: [
    ['group', 'integer', group],
    ['tensor', 'tensor', tensor],
    ['op', 'string', 'sum'],
  ],
  broadcast: [
    ['group', 'integer', group],
    ['tensor', 'tensor', tensor],
    ['root', 'integer', 0],
  ],
  allGather: [
    ['group', 'integer', group],
    ['tensor', 'tensor', tensor],
    ['gradient', 'boolean', false],
  ],
  barrier: [['group', 'integer', group]],
  createReducer: [
    ['group', 'integer', group],
    ['parameters', 'array', [leaf]],
    ['buffers', 'array', []],
    ['bucketBytes', 'integer', 1024],
  ],
  reducerForward: [['reducer', 'integer', 1]],
  reducerBackward: [['reducer', 'integer', 1]],
  destroyReducer: [['reducer', 'integer', 1]],
};

/** Not made by the addon's common door: `invoke` is tested in operator.test.ts, `resizeBicubic` with the images. */
const ELSEWHERE = ['invoke', 'resizeBicubic'];

class Loud extends Error {}
const loud = () => {
  throw new Loud();
};
const untouchable = <T extends object>(target: T) => new Proxy(target, { get: loud, has: loud, ownKeys: loud });
const odd = { valueOf: loud, toString: loud, [Symbol.toPrimitive]: loud };

const NO_NUMBER = [undefined, null, true, '1', Symbol('s'), {}, odd, untouchable({}), [1], () => 1, new Number(1)];
const NO_INTEGER = [...NO_NUMBER, NaN, Infinity, -Infinity, 0.5, -1e-300, 1e300, 2 ** 52, 2 ** 53, -(2 ** 52)];
const NO_HANDLE = [...NO_NUMBER, NaN, Infinity, 0, -0, 1, -1, 0.5, 2 ** 52 - 1, 2 ** 53, -(2 ** 52) - 4, 1n, 2n ** 52n];
const DEAD = [stale, 2 ** 53 - 1, 2 ** 52 + 2 ** 23, 2 ** 52 + 2 ** 24 * 12345, 2 ** 52 + 2 ** 51];
const NO_ELEMENT = [undefined, null, NaN, Infinity, 0.5, '1', true, {}, odd, [1], Symbol('s'), 2 ** 53, tensor];

const WRONG: Record<Kind, unknown[]> = {
  handle: NO_HANDLE,
  tensor: [...NO_HANDLE, ...DEAD, generator, mapping],
  generator: [...NO_HANDLE, ...DEAD, tensor, mapping],
  mapping: [...NO_HANDLE, ...DEAD, tensor, generator],
  integer: [...NO_INTEGER, tensor, stale, 2n ** 63n, -(2n ** 64n)],
  string: [undefined, null, 1, true, Symbol('s'), {}, odd, untouchable({}), ['cpu'], new String('cpu'), 1n],
  boolean: [undefined, null, 0, 1, 'true', Symbol('s'), {}, odd, [], new Boolean(true), 1n],
  bytes: [
    ...[undefined, null, 8, 'bytes', [1, 2], {}, untouchable(new Uint8Array(8)), new ArrayBuffer(8)],
    ...[new SharedArrayBuffer(8), new DataView(new ArrayBuffer(8)), new Uint8ClampedArray(8), new Int8Array(8)],
    ...[new Float32Array(2), { length: 8, 0: 1 }],
  ],
  array: [
    ...[undefined, null, 2, '2', {}, { length: 1, 0: 1 }, untouchable([1]), new Set([1]), new Int32Array(1)],
    ...NO_ELEMENT.map((element) => (element === tensor ? [1, 'x'] : [element])),
    ...[new Array(3), Object.assign(new Array(3), { 0: 1, 2: 1 }), new Array(2 ** 32 - 1)],
  ],
};

function call(name: string, args: readonly unknown[]): unknown {
  const found: unknown = Object.entries(addon).find(([key]) => key === name)?.[1];
  assert.ok(typeof found === 'function', `the addon exports ${name}`);
  return Reflect.apply(found, undefined, args);
}

/** The error of a call that must fail: one line, that begins with the function's name. */
function failure(name: string, args: readonly unknown[], what: string): Error {
  try {
    call(name, args);
  } catch (error) {
    assert.ok(error instanceof Error, what);
    assert.ok(error.message.startsWith(`${name}: `) && !error.message.includes('\n'), `${what}: ${error.message}`);
    return error;
  }
  return assert.fail(`${what} was accepted`);
}

function show(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return String(value);
}

test('the table of this test knows every export', () => {
  assert.deepEqual(Object.keys(addon).sort(), [...Object.keys(FUNCTIONS), ...ELSEWHERE].sort());
});

for (const [name, parameters] of Object.entries(FUNCTIONS)) {
  test(`${name} refuses wrong arguments`, () => {
    const before = addon.liveHandles();
    const fitting = parameters.map(([, , value]) => value);
    parameters.forEach(([parameter, kind], position) => {
      WRONG[kind].forEach((value, i) => {
        const what = `${name} with ${show(value)} (${kind} ${i}) for ${parameter}`;
        const error = failure(name, fitting.with(position, value), what);
        assert.ok(error.message.includes(` for ${parameter} but received `), `${what}: ${error.message}`);
      });
      failure(name, fitting.slice(0, position), `${name} without ${parameter}`);
    });
    const error = failure(name, [...fitting, undefined], `${name} with one argument too many`);
    assert.match(error.message, /expected at most \d+ arguments but received \d+/);
    assert.equal(addon.liveHandles(), before);
  });
}

test('an error that a getter throws comes through as it is', () => {
  const sizes = Object.defineProperty([], 0, { get: loud });
  assert.throws(() => addon.fromBytes(new Uint8Array(8), 6, sizes), Loud);
  assert.throws(() => addon.fromMapping(mapping, 0, 6, [2], sizes), Loud);
  assert.throws(() => addon.disposeAll(sizes), Loud);
});

test('sizes and bytes that do not fit each other', () => {
  const before = addon.liveHandles();
  const bytes = new Uint8Array(8);
  assert.throws(() => addon.fromBytes(bytes, 6, [3]), /fromBytes: expected 12 bytes for bytes but received 8/);
  assert.throws(() => addon.fromBytes(bytes, 6, []), /expected 4 bytes/);
  assert.throws(() => addon.fromBytes(bytes, 6, [-2]), /for sizes but received the number -2 at index 0/);
  assert.throws(() => addon.fromBytes(bytes, 6, [2 ** 40, 2 ** 40]), /more than can be addressed/);
  assert.throws(() => addon.fromBytes(bytes, 6, [2 ** 51]), /expected \d+ bytes/); // refused before memory is asked for
  assert.throws(() => addon.toBytes(tensor, new Uint8Array(7)), /toBytes: expected 8 bytes for destination/);
  assert.throws(() => addon.item(tensor), /item: expected a tensor of one element but received one of 2/);
  assert.equal(addon.liveHandles(), before);
});

test('dtypes without plain elements, and no dtypes at all', () => {
  for (const code of [12, 13, 14, 16, 17, 18, 22, 1000, -1])
    assert.throws(() => addon.fromBytes(new Uint8Array(8), code, [1]), /fromBytes: .* for dtype/, `code ${code}`);
});

test('process groups and reducers that are not there, ranks and ports that cannot be', () => {
  for (const use of [() => addon.barrier(99), () => addon.allReduce(-1, tensor, 'sum')])
    assert.throws(use, /there is no process group of number -?\d+, or it was destroyed/);
  assert.throws(() => addon.reducerForward(99), /reducerForward: there is no reducer of number 99/);
  const start = (port: number, rank: number, size: number) =>
    addon.initProcessGroup('127.0.0.1', port, rank, size, true, '', true, 10, 10, '');
  assert.throws(() => start(65536, 0, 1), /for port but received the number 65536/);
  assert.throws(() => start(-1, 0, 1), /for port but received the number -1/);
  assert.throws(() => start(port, 1, 1), /from 0 to 0 for rank but received the number 1/);
  assert.throws(() => start(port, 0, 0), /for worldSize but received the number 0/);
  assert.throws(
    () => addon.warpAffine(new Uint8Array(12), new Uint8Array(12), 2, 2, [1, 0, 0, 0, 1, 0], 256),
    /for fill/,
  );
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
  assert.match(refused(0, 0, [2 ** 50, 2 ** 50], [0, 0]), /more than can be addressed/);
  assert.match(refused(0, 0, [2 ** 40, 2], [2 ** 40, 1]), /beyond/);
  assert.match(failure('mapFile', [join(folder, 'absent')], 'an absent file').message, /cannot open .*: No such file/);
  assert.match(failure('mapFile', [folder], 'a folder').message, /no regular file/);
  assert.match(failure('mapFile', [`${file}\0.pth`], 'a null character').message, /without a null character/);
  assert.match(failure('mapFile', [''], 'the empty path').message, /cannot open/);
});

test('the loader of shared libraries tells why it cannot open one', () => {
  const found = addonFolder();
  assert.ok(found);
  const boot: { open(...args: unknown[]): string | null } = createRequire(import.meta.url)(join(found, 'boot.node'));
  assert.match(boot.open(join(folder, 'libabsent.so'), false) ?? '', /libabsent\.so: cannot open shared object file/);
  assert.match(boot.open(file, false) ?? '', /file too short|invalid ELF header/);
  assert.match(boot.open(`${file}\0`, false) ?? '', /null character/);
  for (const args of [[], [file], [file, 1], [1, true], [null, true], [file, true, 1], [odd, false]])
    assert.throws(() => boot.open(...args), /open: expected a path and whether its symbols are global/);
});

test('what would end or stop the process is refused', async () => {
  const { code, signal, stdout, stderr } = await runNode(`
    import { execFileSync } from 'node:child_process';
    import { rmSync } from 'node:fs';
    const detached = (bytes) => structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    const attempts = {
      threads: () => native.setThreads(1e9),
      'a buffer detached while sizes are read': () => {
        const bytes = new Uint8Array(1 << 24);
        return native.fromBytes(bytes, 0, Object.defineProperty([], 0, { get: () => (detached(bytes), 1 << 24) }));
      },
      'pixels detached while a box is read': () => {
        const [source, out] = [new Uint8Array(3 << 20), new Uint8Array(12)];
        const box = Object.defineProperty([0, 0, 1024, 1024], 0, { get: () => (detached(source), 0) });
        native.resizeBicubic(source, 1024, 1024, 2, 2, out, box);
      },
      'pixels detached while a matrix is read': () => {
        const [source, out] = [new Uint8Array(3 << 20), new Uint8Array(3 << 20)];
        const matrix = Object.defineProperty([1, 0, 0, 0, 1, 0], 0, { get: () => (detached(out), 1) });
        native.warpAffine(source, out, 1024, 1024, matrix, 0);
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
