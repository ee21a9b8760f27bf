// Calling ATen operators: arguments and results of every kind that schemas have, wrong ones, and values as in Python.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { native } from '#blip/torch/native.js';
import type { NativeResult } from '#blip/torch/native-exports.js';
import { operator, operatorInPlace, operatorOfFirst, operatorOfMany, type Value } from '#blip/torch/operator.js';
import * as ops from '#blip/torch/ops.js';
import { liveHandles, scope, Tensor } from '#blip/torch/tensor.js';

const addon = native();
const start = liveHandles();
after(() => assert.equal(liveHandles(), start, 'these tests leave no tensor behind'));

/** Calls an operator through the addon, with handles and plain values; the scope owns the tensors it returns. */
function invoke(name: string, ...values: unknown[]): NativeResult {
  const [operatorName = '', overload = ''] = name.split('.');
  const result = addon.invoke(addon.resolve(operatorName, overload).id, ...values);
  for (const handle of [result].flat()) if (typeof handle === 'number' && handle >= 2 ** 52) new Tensor(handle);
  return result;
}

/** The numbers of a result tensor, whatever its type. */
const numbers = (result: NativeResult) =>
  scope(() => [...ops.to(new Tensor(addon.alias(Number(result))), { dtype: 'float32' }).float32()]);

function close(actual: Tensor | number[], expected: readonly number[]): void {
  const values = Array.isArray(actual) ? actual : [...ops.to(actual, { dtype: 'float32' }).float32()];
  assert.equal(values.length, expected.length);
  values.forEach((value, i) => {
    const difference = Math.abs(value - (expected[i] ?? NaN));
    assert.ok(difference <= 1e-6 * Math.max(1, Math.abs(value)), `element ${i} is ${value}, not ${expected[i]}`);
  });
}

/** Runs a test's body in a scope of its own. */
const inScope = (name: string, body: () => void) => test(name, () => scope(body));

inScope('arguments of every kind', () => {
  const x = ops.float32([1, 2, 3, 4], [2, 2]).handle;
  const y = ops.float32([4, 3, 2, 1], [2, 2]).handle;
  const made = (result: NativeResult) => numbers(result);
  assert.deepEqual(made(invoke('aten::add.Tensor', x, y, 2)), [9, 8, 7, 6], 'Tensor, Scalar');
  assert.deepEqual(made(invoke('aten::add.Tensor', x, y)), [5, 5, 5, 5], 'a default');
  assert.deepEqual(made(invoke('aten::add.Tensor', x, y, undefined)), [5, 5, 5, 5], 'undefined is the default');
  assert.deepEqual(made(invoke('aten::mul.Scalar', x, 0.5)), [0.5, 1, 1.5, 2], 'a fractional Scalar');
  assert.deepEqual(made(invoke('aten::add.Scalar', x, true)), [2, 3, 4, 5], 'a boolean Scalar');
  assert.deepEqual(made(invoke('aten::add.Scalar', x, 2n)), [3, 4, 5, 6], 'a bigint Scalar');
  assert.deepEqual(made(invoke('aten::linear', x, y)), [10, 4, 24, 10], 'Tensor? by default');
  assert.deepEqual(made(invoke('aten::linear', x, y, null)), [10, 4, 24, 10], 'Tensor? as null');
  assert.deepEqual(made(invoke('aten::cat', [x, y], -1)), [1, 2, 4, 3, 3, 4, 2, 1], 'Tensor[] and int');
  const rows = ops.int64([1, 0]).handle;
  assert.deepEqual(made(invoke('aten::index.Tensor', x, [null, rows])), [2, 1, 4, 3], 'Tensor?[] with a None');
  assert.deepEqual(made(invoke('aten::index.Tensor', x, [rows])), [3, 4, 1, 2], 'Tensor?[]');
  assert.deepEqual(made(invoke('aten::sum.dim_IntList', x, [0])), [4, 6], 'int[]');
  const image = ops.float32([1, 2, 3, 4], [1, 1, 2, 2]).handle;
  assert.deepEqual(made(invoke('aten::avg_pool2d', image, 2)), [2.5], 'int[2] from one number');
  assert.deepEqual(made(invoke('aten::avg_pool2d', image, [2, 1])), [2, 3], 'int[2]');
  assert.deepEqual(addon.sizes(Number(invoke('aten::upsample_nearest2d.vec', image, null, [1.5, 2]))), [1, 1, 3, 4]);
  assert.deepEqual(made(invoke('aten::clamp_min', x, 2.5)), [2.5, 2.5, 3, 4], 'a number');
  close(made(invoke('aten::gelu', x, 'tanh')), [0.841192, 1.9545977, 2.9963627, 3.9999297]);
  assert.equal(invoke('aten::can_cast', 6, 4), false, 'ScalarType, and a result of type bool');
  assert.equal(addon.dtype(Number(invoke('aten::sum', x, 7))), 7, 'ScalarType?');
  const last = invoke('aten::clone', image, 2); // MemoryFormat: channels last
  assert.deepEqual(addon.strides(Number(last)), [4, 1, 2, 1]);
  assert.equal(addon.device(Number(invoke('aten::zeros', [1], null, null, 'meta'))), 'meta', 'Device?');
  const generator = addon.createGenerator(7);
  close(made(invoke('aten::randn.generator', [3], generator)), [-0.1467950940132141, 0.7861412763595581, 0.94682163]);
  addon.dispose(generator);
});

inScope('results of every kind', () => {
  const x = ops.float32([3, 1, 2]).handle;
  const pair = invoke('aten::topk', x, 2);
  assert.ok(Array.isArray(pair));
  assert.deepEqual(pair.map(numbers), [
    [3, 2],
    [0, 2],
  ]);
  const list = invoke('aten::split_with_sizes', x, [1, 2]);
  assert.ok(Array.isArray(list));
  assert.deepEqual(list.map(numbers), [[3], [1, 2]]);
  assert.deepEqual(invoke('aten::split_with_sizes', ops.zeros([0]).handle, []), []);
  assert.equal(invoke('aten::size.int', x, 0), 3);
  assert.equal(invoke('aten::item', ops.float32([0.5]).handle), 0.5);
  assert.equal(invoke('aten::item', ops.int64([7]).handle), 7);
  assert.equal(invoke('aten::item', ops.full([], 1, { dtype: 'bool' }).handle), true);
  assert.equal(invoke('aten::is_same_size', x, x), true);
  assert.equal(invoke('aten::promote_types', 4, 6), 6);
  assert.equal(invoke('aten::fill_.Scalar', x, 1), null, 'what was written in place is not handed back');
  const norm = invoke(
    'aten::native_layer_norm_backward',
    ...[x, x, [3], ops.float32([0]).handle],
    ops.float32([1]).handle,
    null,
    null,
    [true, false, false],
  );
  assert.ok(Array.isArray(norm), 'bool[3], and results of which some are undefined');
  assert.deepEqual(
    norm.map((result) => result === null),
    [false, true, true],
  );
  const big = ops.fromBytes(new Uint8Array(new BigInt64Array([2n ** 60n + 1n, -(2n ** 63n)]).buffer), 'int64', [2]);
  assert.equal(invoke('aten::item', ops.select(big, 0, 0).handle), 2n ** 60n + 1n);
  assert.equal(addon.item(ops.select(big, 0, 1).handle), -(2n ** 63n));
  assert.throws(() => ops.select(big, 0, 0).item(), /below 2\^52 but received 1152921504606846977/);
});

/** Operators, their arguments, and what the error must say. */
const WRONG: [name: string, values: (x: number) => unknown[], message: RegExp][] = [
  ['aten::add.Tensor', () => [], /expected Tensor for self but received undefined/],
  ['aten::add.Tensor', (x) => [x], /expected Tensor for other but received undefined/],
  ['aten::add.Tensor', (x) => [x, null], /expected Tensor for other but received null/],
  ['aten::add.Tensor', (x) => [x, 1], /expected Tensor for other but received the number 1/],
  ['aten::add.Tensor', (x) => [x, NaN], /expected Tensor for other but received the number nan/],
  ['aten::add.Tensor', (x) => [x, 'x'], /expected Tensor for other but received the string 'x'/],
  ['aten::add.Tensor', (x) => [x, [x]], /expected Tensor for other but received an array/],
  ['aten::add.Tensor', (x) => [x, Symbol('x')], /expected Tensor for other but received a symbol/],
  ['aten::add.Tensor', (x) => [x, 5n], /expected Tensor for other but received a bigint/],
  ['aten::add.Tensor', (x) => [x, 2 ** 53 - 1], /for other but received a handle that was disposed or never existed/],
  ['aten::add.Tensor', (x) => [x, x, 'x'], /expected Scalar for alpha but received the string 'x'/],
  ['aten::add.Tensor', (x) => [x, x, x], /expected Scalar for alpha but received a tensor/],
  ['aten::add.Tensor', (x) => [x, x, null], /expected Scalar for alpha but received null/],
  ['aten::add.Tensor', (x) => [x, x, 1, 1], /expected at most 3 arguments but received 4/],
  ['aten::add.Tensor', (x) => [x, ...Array(100).fill(x)], /expected at most 3 arguments but received 101/],
  ['aten::mul.Scalar', (x) => [x, x], /expected Scalar for other but received a tensor/],
  ['aten::linear', (x) => [x, x, 1], /expected Tensor or null for bias but received the number 1/],
  ['aten::cat', (x) => [x], /expected Tensor\[\] for tensors but received a tensor/],
  ['aten::cat', (x) => [[x, 1]], /expected Tensor\[\] for tensors but received the number 1 at index 1/],
  ['aten::cat', (x) => [[x, null]], /for tensors but received null at index 1/],
  ['aten::cat', () => [new Array(2)], /for tensors but received undefined at index 0/],
  ['aten::cat', (x) => [{ length: 1, 0: x }], /for tensors but received an object/],
  ['aten::cat', (x) => [[x], 0.5], /expected int for dim but received the number 0.5/],
  ['aten::cat', (x) => [[x], x], /expected int for dim but received a tensor/],
  ['aten::cat', (x) => [[x], 2n ** 63n], /expected int for dim but received a bigint/],
  ['aten::cat', (x) => [[x], 2 ** 60], /expected int for dim but received the number 1.15292e\+18/],
  ['aten::index.Tensor', (x) => [x, [1]], /expected Tensor\?\[\] for indices but received the number 1 at index 0/],
  ['aten::sum.dim_IntList', (x) => [x, [0.5]], /for dim but received the number 0.5 at index 0/],
  ['aten::sum.dim_IntList', (x) => [x, 0.5], /for dim but received the number 0.5/],
  ['aten::sum.dim_IntList', (x) => [x, [0], 1], /expected bool for keepdim but received the number 1/],
  ['aten::sum', (x) => [x, 99], /expected ScalarType or null for dtype but received the number 99/],
  ['aten::sum', (x) => [x, 'float32'], /expected ScalarType or null for dtype but received the string 'float32'/],
  ['aten::clone', (x) => [x, 77], /expected MemoryFormat or null for memory_format but received the number 77/],
  ['aten::zeros', () => [[2], null, -1], /expected Layout or null for layout but received the number -1/],
  ['aten::zeros', () => [[2], null, null, 'gpu'], /expected Device or null for device but received the string 'gpu'/],
  ['aten::zeros', () => [[2], null, null, 'cpu:-1'], /for device/],
  ['aten::zeros', () => [[2], null, null, 'cpu\0'], /for device/],
  ['aten::zeros', () => [[2], null, null, 'cuda:99999999999999999999'], /for device/],
  ['aten::zeros', () => [[2], null, null, 0], /expected Device or null for device but received the number 0/],
  ['aten::zeros', () => [[-1]], /must be non-negative|negative dimension/],
  ['aten::zeros', () => [[2 ** 40, 2 ** 40]], /overflow/],
  ['aten::gelu', (x) => [x, 1], /expected str for approximate but received the number 1/],
  ['aten::gelu', (x) => [x, 'sigmoid'], /approximate/],
  ['aten::randn.generator', (x) => [[1], x], /expected Generator or null for generator but received a tensor/],
  ['aten::upsample_nearest2d.vec', (x) => [x, null, [2, x]], /for scale_factors but received a tensor at index 1/],
  [
    'aten::convolution_backward',
    (x) => [x, x, x, null, [1], [0], [1], false, [0], 1, 1],
    /expected bool\[\] for output_mask but received the number 1/,
  ],
  ['aten::mm', (x) => [x, x], /self must be a matrix/],
  ['aten::full', () => [[1], {}], /expected Scalar for fill_value but received an object/],
  [
    'aten::_flash_attention_forward',
    (x) => [x, x, x, null, null, 1, 1, 0, false, false],
    /Could not run 'aten::_flash_attention_forward' with arguments from the 'CPU' backend\.$/,
  ],
];

inScope('a wrong argument is named, with what it is', () => {
  const x = ops.float32([1, 2]);
  const before = liveHandles();
  for (const [name, values, message] of WRONG)
    assert.throws(
      () => invoke(name, ...values(x.handle)),
      (error: Error) => {
        assert.ok(error.message.startsWith(`${name}: `) && !error.message.includes('\n'), error.message);
        assert.match(error.message, message);
        return true;
      },
      name,
    );
  assert.equal(liveHandles(), before);
});

inScope('generators, mappings and tensors are not taken for each other', () => {
  const [x, generator] = [ops.float32([1]).handle, addon.createGenerator(1)];
  assert.throws(() => invoke('aten::abs', generator), /expected Tensor for self but received a generator/);
  assert.throws(() => invoke('aten::cat', [x, generator]), /but received a generator at index 1/);
  addon.dispose(generator);
  assert.throws(
    () => invoke('aten::randn.generator', [1], generator),
    /for generator but received a handle that was disp/,
  );
});

test('operators that do not exist, or return something else than was said', () => {
  assert.throws(() => addon.resolve('aten::nonsense', ''), /resolve: LibTorch has no operator aten::nonsense/);
  assert.throws(() => addon.resolve('aten::add', 'Nonsense'), /no operator aten::add\.Nonsense/);
  assert.throws(() => addon.resolve('', ''), /no operator/);
  assert.throws(() => addon.resolve('aten::add\0', 'Tensor'), /no operator/);
  assert.equal(addon.resolve('aten::add', 'Tensor').id, addon.resolve('aten::add', 'Tensor').id);
  assert.deepEqual(addon.resolve('aten::add', 'Tensor').arguments, ['self', 'other', 'alpha']);
  assert.deepEqual(addon.resolve('aten::add_', 'Tensor').returns, []);
  for (const id of [-1, 0.5, 4095, 1e9, NaN, Infinity, '0', null, undefined, {}, 2 ** 53 - 1, Symbol('id')])
    assert.throws(() => Reflect.apply(addon.invoke, undefined, [id]), /invoke: expected the id of a resolved operator/);
  const x = ops.float32([1]);
  const before = liveHandles();
  const calls: [() => unknown, RegExp][] = [
    [() => operator('aten::topk')(x, 1), /one tensor but aten::topk returns \(Tensor, Tensor\)/],
    [() => operator('aten::size.int')(x, 0), /one tensor but aten::size\.int returns \(int\)/],
    [() => operatorOfMany('aten::abs')(x), /several tensors but aten::abs returns \(Tensor\)/],
    [() => operatorOfFirst('aten::abs')(x), /a tensor and more/],
    [() => operatorInPlace('aten::abs')(x), /no new result/],
    [() => operator('aten::abs_')(x), /one tensor but aten::abs_ returns \(\)/],
  ];
  for (const [call, message] of calls) assert.throws(call, message);
  assert.equal(liveHandles(), before, 'refused before anything was computed');
  x.dispose();
});

inScope('operators of the first result dispose the others', () => {
  const x = ops.float32([3, 1, 2]);
  const before = liveHandles();
  assert.deepEqual([...operatorOfFirst('aten::sort')(x).float32()], [1, 2, 3]);
  assert.equal(liveHandles(), before + 1);
});

inScope('memory that cannot be had is a sentence for the user', () => {
  assert.throws(
    () => ops.zeros([2 ** 45]),
    (error) => error instanceof UserError && /^Memory is short: /.test(error.message),
  );
});

inScope('typed values pass as they are given', () => {
  const values: Value[] = [ops.float32([1, 2, 3]), [ops.float32([1])], 2, 2n, true, 'text', null, undefined, [1, 2]];
  const before = [...values];
  assert.throws(() => operator('aten::abs')(...values), /at most 1 argument/);
  assert.deepEqual(values, before, "the caller's array is not touched");
});

inScope('neural network operators give the values of Python', () => {
  const q = ops.float32(
    Array.from({ length: 12 }, (_, i) => i / 10),
    [1, 1, 3, 4],
  );
  const k = ops.indexSelect(q, 2, ops.int64([2, 1, 0]));
  close(ops.attention(q, k, ops.mul(q, 2)), [
    ...[0.7361531853675842, 0.9361531138420105, 1.136153221130371, 1.3361531496047974],
    ...[0.5726009011268616, 0.7726008892059326, 0.9726008772850037, 1.1726008653640747],
    ...[0.42936521768569946, 0.6293651461601257, 0.8293651938438416, 1.0293653011322021],
  ]);
  const x = ops.float32([1, 2, 4, 0, -1, 3], [2, 3]);
  close(ops.layerNorm(x, ops.float32([1, 0.5, 2]), ops.float32([0, 0.1, -0.1]), 1e-6), [
    ...[-1.0690444707870483, -0.03363054245710373, 2.5726118087768555],
    ...[-0.39223214983940125, -0.390290230512619, 2.645625591278076],
  ]);
  const points = ops.float32([-3, -1, 0, 0.5, 2]);
  close(ops.gelu(points), [-0.004049867391586304, -0.1586552858352661, 0, 0.3457311987876892, 1.9544999599456787]);
  const image = ops.float32(
    Array.from({ length: 16 }, (_, i) => i),
    [1, 1, 4, 4],
  );
  close(ops.upsampleBicubic(image, 3, 5), [
    ...[0.44387948513031006, 1.1153801679611206, 2.004629611968994, 2.8938798904418945, 3.5653798580169678],
    ...[5.93925142288208, 6.610751628875732, 7.5, 8.389251708984375, 9.060750007629395],
    ...[11.434623718261719, 12.106123924255371, 12.995372772216797, 13.884624481201172, 14.556122779846191],
  ]);
});
