// evaluate.txt and the table: what is written, where, and what a failure says.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { chanceLevel, type RetrievalMetrics } from '#blip/evaluation/recall.js';
import { appendEvaluation, evaluationLine, recallTable } from '#blip/evaluation/report.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

const val: RetrievalMetrics = {
  txt_r1: 50,
  txt_r5: 75,
  txt_r10: 100,
  txt_r_mean: 75,
  img_r1: 33.333333333333336,
  img_r5: 0,
  img_r10: 0.00001,
  img_r_mean: 53.333333333333336,
  r_mean: 41.66666666666667,
};
const test_ = { ...val, r_mean: 0 };

test('the line of evaluate.txt is what json.dumps writes: val first, floats with a point', () => {
  assert.equal(
    evaluationLine(val, test_),
    '{"val_txt_r1": 50.0, "val_txt_r5": 75.0, "val_txt_r10": 100.0, "val_txt_r_mean": 75.0, ' +
      '"val_img_r1": 33.333333333333336, "val_img_r5": 0.0, "val_img_r10": 1e-05, ' +
      '"val_img_r_mean": 53.333333333333336, "val_r_mean": 41.66666666666667, ' +
      '"test_txt_r1": 50.0, "test_txt_r5": 75.0, "test_txt_r10": 100.0, "test_txt_r_mean": 75.0, ' +
      '"test_img_r1": 33.333333333333336, "test_img_r5": 0.0, "test_img_r10": 1e-05, ' +
      '"test_img_r_mean": 53.333333333333336, "test_r_mean": 0.0}',
  );
});

test('evaluate.txt is appended to, in a folder that is made when absent', () => {
  const output = join(folder, 'a', 'b');
  appendEvaluation(output, val, test_);
  appendEvaluation(output, test_, val);
  const lines = readFileSync(join(output, 'evaluate.txt'), 'utf8');
  assert.equal(lines, `${evaluationLine(val, test_)}\n${evaluationLine(test_, val)}\n`);
});

test('an output folder that is a file is an error with a sentence', () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  for (const output of [file, join(file, 'below')]) {
    assert.throws(
      () => appendEvaluation(output, val, test_),
      (error: unknown) =>
        error instanceof UserError && /cannot be made: a part of this path is a file/.test(error.message),
    );
  }
});

test('the level of chance, against counting by hand', () => {
  // Two images with 1 and 3 of 4 texts. One draw: 1/4 and 3/4. Five draws of four find everything.
  assert.deepEqual(chanceLevel([[0], [1, 2, 3]], 4), { text: [50, 100, 100], image: [50, 100, 100] });
  const coco = chanceLevel(
    Array.from({ length: 5000 }, (_, i) => [0, 1, 2, 3, 4].map((j) => 5 * i + j)),
    25000,
  );
  assert.ok(Math.abs(coco.text[0] - 0.02) < 1e-12);
  assert.deepEqual(coco.image, [0.02, 0.1, 0.2]);
  // 1 - C(24995, 10) / C(25000, 10).
  assert.ok(Math.abs(coco.text[2] - 0.19985604031884727) < 1e-12, String(coco.text[2]));
  assert.deepEqual(chanceLevel([[], [0]], 1).text, [50, 50, 50]);
});

test('the table shows percent, both directions and chance for each split', () => {
  const chance = chanceLevel([[0], [1, 2, 3]], 4);
  const table = recallTable([
    { name: 'val', images: 2, texts: 4, metrics: val, chance },
    { name: 'test', images: 2, texts: 4, metrics: test_, chance },
  ]);
  assert.equal(
    table,
    [
      'Recall in percent',
      'val: 2 images, 4 captions                    R@1      R@5     R@10     mean',
      '  text retrieval (TR)                      50.00    75.00   100.00    75.00',
      '    level of chance                        50.00   100.00   100.00    83.33',
      '  image retrieval (IR)                     33.33     0.00     0.00    53.33',
      '    level of chance                        50.00   100.00   100.00    83.33',
      '  mean of both                                                        41.67',
      'test: 2 images, 4 captions                   R@1      R@5     R@10     mean',
      '  text retrieval (TR)                      50.00    75.00   100.00    75.00',
      '    level of chance                        50.00   100.00   100.00    83.33',
      '  image retrieval (IR)                     33.33     0.00     0.00    53.33',
      '    level of chance                        50.00   100.00   100.00    83.33',
      '  mean of both                                                         0.00',
    ].join('\n'),
  );
});

test('the table keeps its labels and does not wrap where a terminal has 60 columns', () => {
  const chance = chanceLevel([[0], [1, 2, 3]], 4);
  const split = { name: 'test', images: 31000, texts: 155000, metrics: val, chance };
  for (const columns of [59, 74]) {
    const lines = recallTable([split], columns).split('\n');
    assert.deepEqual(lines.slice(1, 4), [
      'test: 31000 images, 155000 captions',
      '                            R@1      R@5     R@10     mean',
      '  text retrieval (TR)     50.00    75.00   100.00    75.00',
    ]);
    assert.ok(lines.every((line) => line.length <= 58));
  }
  assert.equal(recallTable([split], 75), recallTable([split]));
  const narrow = recallTable([{ ...split, images: 1, texts: 1 }], 39).split('\n');
  assert.deepEqual(narrow.slice(1, 5), [
    'test: 1 image, 1 caption',
    '      R@1      R@5     R@10     mean',
    '  text retrieval (TR)',
    '    50.00    75.00   100.00    75.00',
  ]);
  assert.ok(narrow.every((line) => line.length <= 39));
});
