// The memory of an image loader: no more than its images need, and a sentence where there is not enough.
// Covers data/loader/memory, data/require-images.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImageLoader } from '#blip/data/loader/loader.js';
import { requireImages } from '#blip/data/require-images.js';
import { UserError } from '#blip/errors.js';
import { fixture } from '../../helpers/fixtures.js';

const image = fixture('rule_tiny/data/images/train/train_000000.jpg') as string;

test('a batch larger than all images takes no more memory than they', () => {
  const loader = new ImageLoader({ paths: [image, image], size: 96, batchSize: 1e12, workers: 1 });
  assert.equal(loader.next()?.count, 2);
  assert.equal(loader.next(), null);
  loader.close();
});

test('more memory than any machine has is refused with what it was for', () => {
  const paths = Array.from({ length: 20_000 }, () => image);
  assert.throws(
    () => new ImageLoader({ paths, size: 1e5, batchSize: 20_000, workers: 1 }),
    (error) =>
      error instanceof UserError &&
      error.message ===
        'Memory is short: 20000 decoded images of 100000 x 100000 pixels take 600000000000000 bytes. Lower the batch size.',
  );
});

test('images that are not there are counted, each once', () => {
  requireImages([image, image], 'the train split');
  assert.throws(
    () => requireImages([image, '/absent/b.jpg', '/absent/a.jpg', '/absent/b.jpg'], 'the train split'),
    (error) =>
      error instanceof UserError &&
      /^2 of the 3 images of the train split do not exist; the first is \/absent\/b\.jpg\. /.test(error.message),
  );
});
