// Crop boxes: torchvision's distribution, boxes within the image, and what images get that no box fits.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SampleRandom } from '#blip/data/images/philox.js';
import { randomResizedCrop } from '#blip/data/images/random-resized-crop.js';
import { projectRoot } from '../../helpers/fixtures.js';

const crop = (position: number, width: number, height: number) =>
  randomResizedCrop(new SampleRandom({ seed: 3, epoch: 0, position }), width, height);

const LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95];

interface Distribution {
  mean: number;
  std: number;
  min: number;
  max: number;
  quantiles_5_25_50_75_95: number[];
}

test('20000 boxes in 640x480 are distributed as torchvision’s', () => {
  const file = join(projectRoot, 'test/golden/random_resized_crop_640x480.json');
  const golden: Record<'scale' | 'ratio', Distribution> = JSON.parse(readFileSync(file, 'utf8'));
  const boxes = Array.from({ length: 20_000 }, (_, position) => crop(position, 640, 480));
  const found = {
    scale: boxes.map(([, , width, height]) => (width * height) / (640 * 480)),
    ratio: boxes.map(([, , width, height]) => width / height),
  };
  const near = (value: number, wanted: number, relative: number, what: string) =>
    assert.ok(Math.abs(value - wanted) < relative * wanted, `${what}: ${value} instead of ${wanted}`);
  for (const key of ['scale', 'ratio'] as const) {
    const values = found[key].sort((a, b) => a - b);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    near(mean, golden[key].mean, 0.01, `${key} mean`);
    near(Math.sqrt(variance), golden[key].std, 0.03, `${key} std`);
    golden[key].quantiles_5_25_50_75_95.forEach((quantile, i) => {
      near(values[Math.round((LEVELS[i] ?? 0) * values.length)] ?? 0, quantile, 0.02, `${key} quantile ${i}`);
    });
  }
  // Places are uniform over what is left.
  const places = boxes.flatMap(([left, , width]) => (width < 640 ? [left / (640 - width)] : []));
  near(places.reduce((sum, value) => sum + value, 0) / places.length, 0.5, 0.03, 'place');
});

test('every box lies within the image, even in one of a pixel', () => {
  for (const [width, height] of [
    [640, 480],
    [3, 2],
    [1, 1],
    [1, 500],
    [500, 1],
  ] as const) {
    for (let position = 0; position < 200; position++) {
      const [left, top, w, h] = crop(position, width, height);
      assert.ok([left, top, w, h].every(Number.isInteger));
      assert.ok(left >= 0 && top >= 0 && w >= 1 && h >= 1 && left + w <= width && top + h <= height);
    }
  }
});

test('an image too wide or too high for any box gives its middle', () => {
  assert.deepEqual(crop(0, 900, 20), [436, 0, 27, 20]);
  assert.deepEqual(crop(0, 20, 900), [0, 436, 20, 27]);
});
