// The drawn captions and images: the same each time, and like COCO's in what costs time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawCaptions, drawImages, spreadTexts } from '#blip/bench/workload.js';

test('captions are the same for a seed and have the lengths of COCO', () => {
  const captions = drawCaptions(5000, 1);
  assert.deepEqual(captions.slice(0, 20), drawCaptions(20, 1));
  assert.notDeepEqual(captions.slice(0, 20), drawCaptions(20, 2));
  const lengths = captions.map((caption) => caption.split(' ').length);
  const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
  assert.ok(mean > 10.2 && mean < 10.8, `mean length ${mean}`);
  assert.ok(Math.min(...lengths) >= 8 && Math.max(...lengths) <= 27);
  assert.ok(new Set(captions).size > 4900, 'few captions are equal');
});

test('images fill the range of pixels, differ, and are the same for a seed', () => {
  const images = drawImages(3, 32, 7);
  const one = 32 * 32 * 3;
  assert.equal(images.length, 3 * one);
  assert.deepEqual(images, drawImages(3, 32, 7));
  const mean = images.reduce((sum, value) => sum + value, 0) / images.length;
  assert.ok(mean > 70 && mean < 186, `mean ${mean}`);
  assert.ok(Math.max(...images) - Math.min(...images) > 100);
  assert.notDeepEqual(images.subarray(0, one), images.subarray(one, 2 * one));
});

test('every image has a caption, in order', () => {
  assert.deepEqual(spreadTexts(5, 2), [0, 0, 0, 1, 1]);
  assert.equal(new Set(spreadTexts(7, 7)).size, 7);
  assert.equal(new Set(spreadTexts(40, 9)).size, 9);
});
