// nearestName: what is meant, and when nothing is near enough.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearestName } from '#blip/config/nearest.js';

const known = ['image_root', 'image_size', 'init_lr', 'k_test'];

test('the nearest name wins; case and - for _ are no difference', () => {
  assert.equal(nearestName('image_sise', known), 'image_size');
  assert.equal(nearestName('Image-Root', known), 'image_root');
  assert.equal(nearestName('ktest', known), 'k_test');
});

test('a name that is like none has no nearest', () => {
  assert.equal(nearestName('learning_rate_of_everything', known), undefined);
  assert.equal(nearestName('x'.repeat(10_000), known), undefined);
});
