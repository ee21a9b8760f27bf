// Random numbers: equal to Python's torch for the same seed, and continued exactly from a restored state.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, test } from 'node:test';
import { Generator, manualSeed } from '#blip/torch/generator.js';
import { native } from '#blip/torch/native.js';
import { operator } from '#blip/torch/operator.js';
import * as ops from '#blip/torch/ops.js';
import { type Device, liveHandles, scope, type Tensor } from '#blip/torch/tensor.js';

native().setThreads(1);
const start = liveHandles();
after(() => assert.equal(liveHandles(), start));

const rand = operator('aten::rand');
const randperm = operator('aten::randperm');
const multinomial = operator('aten::multinomial');
const bernoulli = operator('aten::bernoulli');
const randnOf = operator('aten::randn.generator');
const randOf = operator('aten::rand.generator');

const sha256 = (x: Tensor) => createHash('sha256').update(x.bytes()).digest('hex');
const values = (x: Tensor) => [...(x.dtype === 'int64' ? x.integers() : x.float32())];
/** What Python printed, as float32 has it. */
const floats = (...numbers: number[]) => [...Float32Array.from(numbers)];
const inScope = (name: string, body: () => void) => test(name, () => scope(body));

inScope('the default generator, after the same seed', () => {
  const seeded = (draw: () => Tensor) => {
    manualSeed(42);
    return draw();
  };
  assert.deepEqual(
    values(seeded(() => rand([4]))),
    floats(0.8822692632675171, 0.9150039553642273, 0.38286375999450684, 0.9593056440353394),
  );
  assert.equal(sha256(seeded(() => rand([1000]))), '80ff065ee30ad7acb95600ff85f860554eef3d2696f85c54fb49b43a318947c7');
  assert.deepEqual(values(seeded(() => randperm(10, 4))), [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]);
  const weights = ops.float32([0.1, 0.2, 0.3, 0.4]);
  assert.deepEqual(values(seeded(() => multinomial(weights, 6, true))), [0, 0, 1, 0, 2, 2]);
  assert.deepEqual(values(seeded(() => bernoulli(ops.full([12], 0.5)))), [0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0]);
});

inScope('normal numbers, for seeds of every kind', () => {
  const expected: [number | bigint, number[]][] = [
    [42, [0.33669036626815796, 0.12880940735340118, 0.23446236550807953, 0.23033303022384644, -1.1228563785552979]],
    [-1, [1.2197630405426025, -0.3929794728755951, 1.0230751037597656, -0.3734211325645447, -0.07551019638776779]],
    [
      2 ** 40 + 7,
      [-0.1467950940132141, 0.7861412763595581, 0.9468216300010681, -1.1143440008163452, 1.6907901763916016],
    ],
  ];
  for (const [seed, numbers] of expected) {
    for (const same of [seed, BigInt(seed)]) {
      manualSeed(same);
      ops
        .randn([5])
        .float32()
        .forEach((value, i) => {
          assert.ok(Math.abs(value - (numbers[i] ?? NaN)) < 1e-6, `seed ${seed}: ${value}`);
        });
    }
  }
});

inScope("the state's bytes are Python's, before and after drawing", () => {
  const generator = Generator.default('cpu');
  manualSeed(42);
  assert.deepEqual([generator.state.shape, generator.state.dtype], [[5056], 'uint8']);
  assert.equal(sha256(generator.state), '5feb54a46230d321d888e9b43cf5a57492665f199e4377408d79ee460e36679c');
  ops.randn([3]);
  assert.equal(sha256(generator.state), '465eb69e777fa9219f5c7fe27ddd8c19305fee009fb9ff06a4c8ea775fec0b7d');
  generator.dispose();
});

inScope('a restored state continues exactly, in this generator and in another', () => {
  const generator = Generator.create(7);
  assert.equal(values(randnOf([3], generator))[0], floats(-0.1467950940132141)[0]);
  const state = generator.state;
  const next = values(randOf([2], generator));
  assert.deepEqual(next, floats(0.36531615257263184, 0.8512683510780334));
  const other = Generator.create(0);
  other.state = state;
  assert.deepEqual(values(randOf([2], other)), next);
  generator.state = state;
  assert.deepEqual(values(randOf([2], generator)), next);
  generator.seed(7);
  assert.equal(values(randnOf([3], generator))[0], floats(-0.1467950940132141)[0]);
  for (const each of [generator, other]) each.dispose();
});

inScope('a generator of its own leaves the default one alone', () => {
  manualSeed(1);
  const expected = values(rand([2]));
  manualSeed(1);
  const own = Generator.create(99);
  randOf([10], own);
  assert.deepEqual(values(rand([2])), expected);
  own.dispose();
});

inScope('seeds and states that are none', () => {
  const generator = Generator.create(1);
  for (const seed of [NaN, Infinity, 0.5, 2 ** 52, 2 ** 53, -(2 ** 52), 2n ** 63n]) {
    assert.throws(() => manualSeed(seed), /manualSeed: expected an integer for seed/);
    assert.throws(() => Generator.create(seed), /createGenerator: expected an integer for seed/);
    assert.throws(() => generator.seed(seed), /seedGenerator: expected an integer for seed/);
  }
  const good = sha256(generator.state);
  const states = [ops.zeros([5056]), ops.zeros([3], { dtype: 'uint8' }), ops.zeros([0], { dtype: 'uint8' })];
  const meta: string = 'meta';
  for (const state of [...states, ops.empty([5056], { dtype: 'uint8', device: meta as Device })])
    assert.throws(() => {
      generator.state = state;
    }, /setGeneratorState: /);
  assert.equal(sha256(generator.state), good, 'a refused state changes nothing');
  for (const device of ['cpx', '', meta, 'cuda:-1'])
    assert.throws(() => Generator.default(device as Device), /defaultGenerator: /);
  generator.dispose();
  assert.throws(
    () => generator.state,
    /generatorState: expected a generator for generator but received a handle that was/,
  );
});
