// Training images: means and variances of every pixel against the reference's; without those, how often one is mirrored.
// Covers data/images/train-transform; test/data/images has the draws of crops and operations.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SampleRandom } from '#blip/data/images/philox.js';
import { drawTraining } from '#blip/data/images/train-transform.js';
import { testReferenceImages } from '../helpers/law-checks.js';

testReferenceImages();

test('half of the images are mirrored, whatever else is drawn for them', () => {
  const drawn = Array.from({ length: 10_000 }, (_, position) =>
    drawTraining(new SampleRandom({ seed: 42, epoch: 0, position }), 640, 480),
  );
  const share = (of: typeof drawn) => of.filter(({ mirrored }) => mirrored).length / of.length;
  // Five standard deviations.
  assert.ok(Math.abs(share(drawn) - 0.5) < 0.025, `${share(drawn)} of all`);
  const small = drawn.filter(({ box: [, , width, height] }) => width * height < 0.75 * 640 * 480);
  const plain = drawn.filter(({ augmentations }) => augmentations.length === 0);
  assert.ok(small.length > 4000 && plain.length > 2000);
  assert.ok(Math.abs(share(small) - 0.5) < 0.04, `${share(small)} of the small crops`);
  assert.ok(Math.abs(share(plain) - 0.5) < 0.055, `${share(plain)} of those without operations`);
});
