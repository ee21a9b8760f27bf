// Philox against the known answers of its authors' Random123 library, and streams that are a function of their place.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { philox4x32, SampleRandom } from '#blip/data/images/philox.js';

test('gives the known answers of philox4x32-10', () => {
  const ones = 0xffffffff;
  assert.deepEqual(philox4x32([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  assert.deepEqual(
    philox4x32([ones, ones, ones, ones], [ones, ones]),
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  );
  assert.deepEqual(
    philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  );
});

function draws(seed: number, epoch: number, position: number, count = 9): number[] {
  const random = new SampleRandom({ seed, epoch, position });
  return Array.from({ length: count }, () => random.next());
}

test('a stream is the same each time and takes its blocks in order', () => {
  assert.deepEqual(draws(42, 1, 7), draws(42, 1, 7));
  const blocks = [0, 1].flatMap((block) => philox4x32([block, 7, 0, 0], [42, 1]));
  assert.deepEqual(
    draws(42, 1, 7, 8),
    blocks.map((value) => value / 2 ** 32),
  );
});

test('seed, epoch and position each give another stream, large and negative seeds too', () => {
  const places: [number, number, number][] = [
    [42, 0, 0],
    [43, 0, 0],
    [42, 1, 0],
    [42, 0, 1],
    [42 + 2 ** 32, 0, 0],
    [-42, 0, 0],
  ];
  const firsts = new Set(places.map((place) => draws(...place).join()));
  assert.equal(firsts.size, places.length);
});

test('numbers are uniform within their limits', () => {
  const random = new SampleRandom({ seed: 1, epoch: 0, position: 0 });
  const counts = new Uint32Array(10);
  let [heads, sum] = [0, 0];
  for (let i = 0; i < 20_000; i++) {
    const cell = random.below(10);
    counts[cell] = (counts[cell] ?? 0) + 1;
    heads += Number(random.flip());
    const value = random.between(-3, 5);
    assert.ok(value >= -3 && value < 5);
    sum += value;
  }
  // Six standard deviations: 42, 71 and 0.016.
  for (const count of counts) assert.ok(Math.abs(count - 2000) < 255, String(counts));
  assert.ok(Math.abs(heads - 10_000) < 425, String(heads));
  assert.ok(Math.abs(sum / 20_000 - 1) < 0.1, String(sum));
});
