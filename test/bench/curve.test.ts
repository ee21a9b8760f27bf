// The straight line through measured points, and the picture of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { curveSvg, fitLine } from '#blip/bench/curve.js';
import { bytes, short } from '#blip/bench/print.js';

test('points on a line give the line', () => {
  const { slope, intercept, r2 } = fitLine([
    [1, 5],
    [2, 7],
    [4, 11],
  ]);
  assert.ok(Math.abs(slope - 2) < 1e-12 && Math.abs(intercept - 3) < 1e-12 && Math.abs(r2 - 1) < 1e-12);
});

test('a square does not pass for a line, a constant does', () => {
  const square = fitLine([1, 2, 4, 8].map((x) => [x, x * x] as const));
  assert.ok(square.r2 < 0.97, `R² ${square.r2}`);
  assert.deepEqual(
    fitLine([
      [1, 3],
      [2, 3],
    ]),
    { slope: 0, intercept: 3, r2: 1 },
  );
});

test('the picture has every point, a panel each, and escaped text', () => {
  const points = [
    [8, 1.5],
    [16, 3],
  ] as const;
  const svg = curveSvg([
    { title: 'a < b', xLabel: 'images & texts', yLabel: 's', points },
    { title: 'second', xLabel: 'x', yLabel: 'y', points },
  ]);
  assert.equal(svg.match(/<circle /g)?.length, 4);
  assert.match(svg, /a &lt; b/);
  assert.match(svg, /images &amp; texts/);
  assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
});

test('a picture of zeros and of a falling line has no broken number', () => {
  const svg = curveSvg([
    { title: 't', xLabel: 'x', yLabel: 'y', points: [[1, 0] as const, [2, 0] as const] },
    { title: 't', xLabel: 'x', yLabel: 'y', points: [[1, 9] as const, [2, 3] as const] },
  ]);
  assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
});

test('numbers are short', () => {
  assert.deepEqual([0, 0.0000025, 0.0123, 1.2345, 12.345, 1234.5].map(short), [
    '0.00',
    '2.5e-6',
    '0.0123',
    '1.23',
    '12.3',
    '1235',
  ]);
  assert.deepEqual([bytes(2 ** 20), bytes(1.5 * 2 ** 30)], ['1.00 MiB', '1.50 GiB']);
});
