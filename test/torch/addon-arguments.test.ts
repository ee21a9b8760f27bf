// Values of the wrong kind for every argument of torch.node and image.node: an Error that names function and argument,
// never a guess.
// Covers native, every function of torch.node and image.node.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { imageAddon } from '#blip/data/images/image-addon.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { bareTensor, failure } from '../helpers/addon-call.js';
import { freePort } from '../helpers/ranks.js';

const addon = native();
const tensor = bareTensor([2]);
const leaf = bareTensor([]);
const bytes = ops.zeros([8], { dtype: 'uint8' }).handle;
const generator = addon.createGenerator(1);
const stale = addon.alias(tensor);
addon.dispose(stale);
const state = addon.generatorState(generator);

/** A process group of this process alone. */
const port = await freePort();
const group = addon.initProcessGroup('127.0.0.1', port, 0, 1, true, '', true, 10_000, 10_000, '');

after(() => {
  addon.destroyProcessGroup(group, 0);
  addon.disposeAll([tensor, leaf, generator, state]);
});

type Kind = 'tensor' | 'generator' | 'handle' | 'integer' | 'string' | 'boolean' | 'bytes' | 'array';

/** For each function its arguments, and values that fit. */
type Functions = Record<string, [name: string, kind: Kind | 'optional array' | 'optional tensor', fitting: unknown][]>;

const TORCH: Functions = {
  resolve: [
    ['name', 'string', 'aten::add'],
    ['overload', 'string', 'Tensor'],
  ],
  linear: [
    ['x', 'tensor', tensor],
    ['weight', 'tensor', tensor],
    ['bias', 'tensor', tensor],
    ['gelu', 'boolean', false],
    ['residual', 'optional tensor', tensor],
  ],
  packLinear: [['weight', 'tensor', tensor]],
  attendPacked: [
    ['q', 'tensor', tensor],
    ['k', 'tensor', tensor],
    ['v', 'tensor', tensor],
    ['queryEnds', 'tensor', tensor],
    ['tokenEnds', 'tensor', tensor],
  ],
  attend: [
    ['q', 'tensor', tensor],
    ['k', 'tensor', tensor],
    ['v', 'tensor', tensor],
  ],
  trackExternal: [['handle', 'handle', tensor]],
  dispose: [['handle', 'handle', stale]],
  disposeAll: [['handles', 'array', [stale]]],
  liveHandles: [],
  isLive: [['handle', 'handle', tensor]],
  sizes: [['tensor', 'tensor', tensor]],
  strides: [['tensor', 'tensor', tensor]],
  dtype: [['tensor', 'tensor', tensor]],
  device: [['tensor', 'tensor', tensor]],
  alias: [['tensor', 'tensor', tensor]],
  item: [['tensor', 'tensor', leaf]],
  writeBytes: [
    ['tensor', 'tensor', tensor],
    ['source', 'bytes', new Uint8Array(8)],
  ],
  toBytes: [
    ['tensor', 'tensor', tensor],
    ['destination', 'bytes', new Uint8Array(8)],
  ],
  viewBytes: [
    ['bytes', 'tensor', bytes],
    ['byteOffset', 'integer', 0],
    ['dtype', 'integer', 6],
    ['sizes', 'array', [2]],
    ['strides', 'array', [1]],
  ],
  recordEvent: [['device', 'string', 'cpu']],
  waitFor: [['event', 'handle', stale]],
  requiresGrad: [['tensor', 'tensor', tensor]],
  setRequiresGrad: [
    ['tensor', 'tensor', tensor],
    ['flag', 'boolean', false],
  ],
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
  tf32: [],
  getThreads: [],
  setThreads: [['threads', 'integer', 1]],
  version: [],
  deviceCount: [],
  whyNoGpu: [],
  deviceName: [['index', 'integer', 0]],
  deviceCapability: [['index', 'integer', 0]],
  setDevice: [['index', 'integer', 0]],
  synchronize: [['index', 'integer', 0]],
  deviceMemory: [['index', 'integer', 0]],
  resetPeakMemory: [['index', 'integer', 0]],
  trimHeap: [],
  lockFile: [['descriptor', 'integer', 1]],
  dieWithParent: [['pid', 'integer', 1]],
  openNccl: [['path', 'string', '']],
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
    ['announcement', 'string', ''],
  ],
  announcements: [['group', 'integer', group]],
  addNccl: [
    ['group', 'integer', group],
    ['timeoutMs', 'integer', 10_000],
  ],
  destroyProcessGroup: [
    ['group', 'integer', group],
    ['patienceMs', 'integer', 0],
  ],
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
  endNcclAtExit: [],
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

const pixels = () => new Uint8Array(12);

const IMAGE: Functions = {
  resizeBicubic: [
    ['source', 'bytes', pixels()],
    ['width', 'integer', 2],
    ['height', 'integer', 2],
    ['outWidth', 'integer', 2],
    ['outHeight', 'integer', 2],
    ['destination', 'bytes', pixels()],
    ['box', 'optional array', [0, 0, 2, 2]],
  ],
  mirrorRows: [
    ['pixels', 'bytes', pixels()],
    ['width', 'integer', 2],
    ['height', 'integer', 2],
  ],
  channelHistograms: [['pixels', 'bytes', pixels()]],
  lookUp: [
    ['pixels', 'bytes', pixels()],
    ['tables', 'bytes', new Uint8Array(768)],
  ],
  warpAffine: [
    ['source', 'bytes', pixels()],
    ['destination', 'bytes', pixels()],
    ['width', 'integer', 2],
    ['height', 'integer', 2],
    ['matrix', 'array', [1, 0, 0, 0, 1, 0]],
    ['fill', 'integer', 0],
  ],
};

/** Each addon with its table. `invoke` is not made by the common door: operator.test.ts tests it. */
const ADDONS = [
  [addon, { ...TORCH, invoke: undefined }],
  [imageAddon(), IMAGE],
] as const;

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

const noArrayOf = (elements: readonly unknown[]) => [
  ...[undefined, null, 2, '2', {}, { length: 1, 0: 1 }, untouchable([1]), new Set([1]), new Int32Array(1)],
  ...elements.map((element) => (element === tensor ? [1, 'x'] : [element])),
  ...[new Array(3), Object.assign(new Array(3), { 0: 1, 2: 1 }), new Array(2 ** 32 - 1)],
];

const WRONG: Record<Kind, unknown[]> = {
  handle: NO_HANDLE,
  tensor: [...NO_HANDLE, ...DEAD, generator],
  generator: [...NO_HANDLE, ...DEAD, tensor],
  integer: [...NO_INTEGER, tensor, stale, 2n ** 63n, -(2n ** 64n)],
  string: [undefined, null, 1, true, Symbol('s'), {}, odd, untouchable({}), ['cpu'], new String('cpu'), 1n],
  boolean: [undefined, null, 0, 1, 'true', Symbol('s'), {}, odd, [], new Boolean(true), 1n],
  bytes: [
    ...[undefined, null, 8, 'bytes', [1, 2], {}, untouchable(new Uint8Array(8)), new ArrayBuffer(8)],
    ...[new SharedArrayBuffer(8), new DataView(new ArrayBuffer(8)), new Uint8ClampedArray(8), new Int8Array(8)],
    ...[new Float32Array(2), { length: 8, 0: 1 }],
  ],
  array: noArrayOf(NO_ELEMENT),
};

function show(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return String(value);
}

test('the tables of this test know every export', () => {
  for (const [exports, table] of ADDONS) assert.deepEqual(Object.keys(exports).sort(), Object.keys(table).sort());
});

for (const [name, parameters] of Object.entries({ ...TORCH, ...IMAGE })) {
  test(`${name} refuses wrong arguments`, () => {
    const before = addon.liveHandles();
    const fitting = parameters.map(([, , value]) => value);
    parameters.forEach(([parameter, kind], position) => {
      const [, optional] = /^optional (.*)$/.exec(kind) ?? [];
      const wrong = WRONG[(optional ?? kind) as Kind].filter((value) => optional === undefined || value !== undefined);
      wrong.forEach((value, i) => {
        const what = `${name} with ${show(value)} (${kind} ${i}) for ${parameter}`;
        const error = failure(name, fitting.with(position, value), what);
        assert.ok(error.message.includes(` for ${parameter} but received `), `${what}: ${error.message}`);
      });
      if (optional === undefined) failure(name, fitting.slice(0, position), `${name} without ${parameter}`);
    });
    const error = failure(name, [...fitting, undefined], `${name} with one argument too many`);
    assert.match(error.message, /expected at most \d+ arguments but received \d+/);
    assert.equal(addon.liveHandles(), before);
  });
}

test('an error that a getter throws comes through as it is', () => {
  const sizes = Object.defineProperty([], 0, { get: loud });
  assert.throws(() => addon.invoke(addon.resolve('aten::zeros', '').id, sizes), Loud);
  assert.throws(() => addon.disposeAll(sizes), Loud);
  assert.throws(() => imageAddon().resizeBicubic(pixels(), 2, 2, 2, 2, pixels(), sizes), Loud);
});
