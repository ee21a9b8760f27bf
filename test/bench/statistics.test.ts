// Best and middle of measurements, and the comparison of two score matrices.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareScores, summary } from '#blip/bench/statistics.js';

test('a summary of no measurement is an error', () => {
  assert.throws(() => summary([]), RangeError);
});

test('the median of an even number of times is the mean of the middle two', () => {
  assert.deepEqual(summary([4, 1, 2, 10]), { min: 1, median: 3 });
  assert.deepEqual(summary([7, 5, 6]), { min: 5, median: 6 });
  assert.deepEqual(summary([3]), { min: 3, median: 3 });
});

test('matrices of different sizes are not compared', () => {
  assert.throws(() => compareScores([new Float32Array(3), new Float32Array(4)]), /Expected 4 scores but received 3/);
});

test('pairs that one program alone re-ranked are counted, not compared', () => {
  const own = Float32Array.of(-100, 1, 2, -100);
  const reference = Float32Array.of(-100, 1.5, -100, 3);
  assert.deepEqual(compareScores([own, reference]), { maxDifference: 0.5, both: 1, one: 2 });
});

test('a score that is no number is an infinite difference and stays one', () => {
  const result = compareScores([Float32Array.of(Number.NaN, 1), Float32Array.of(0, 1)]);
  assert.equal(result.maxDifference, Number.POSITIVE_INFINITY);
});
