// The short measurement of an evaluation: what it samples, and that it measures at all. Times are no one's business here.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { distinctShareOf, encodingBytes, spread, tryEvaluation } from '#blip/evaluation/trial.js';
import { BlipRetrieval } from '#blip/model/blip-retrieval.js';
import { range } from '#blip/model/offsets.js';
import { randomState } from '#blip/model/pretrained.js';
import * as ops from '#blip/torch/ops.js';
import { scope } from '#blip/torch/tensor.js';
import { tinyArchitecture } from '../helpers/tiny-run.js';

test('a sample lies at equal distances', () => {
  assert.deepEqual([...spread(4, 8)], [1, 3, 5, 7]);
  assert.deepEqual([...spread(3, 100)], [16, 50, 83]);
  assert.deepEqual([...spread(5, 3)], [0, 1, 2]);
});

test('pairs of both directions: all where images and texts want each other, none shared where they do not', () => {
  scope(() => {
    const eye = ops.fromBytes(new Uint8Array(new Float32Array([1, 0, 0, 1]).buffer), 'float32', [2, 2]);
    // Each image's best text has it as its best image.
    assert.equal(distinctShareOf(eye, eye, { images: 0.5, texts: 0.5 }), 0.5);
    // Two images, one text: both images want it, it wants the first.
    const one = ops.fromBytes(new Uint8Array(new Float32Array([1, 0]).buffer), 'float32', [1, 2]);
    assert.equal(distinctShareOf(eye, one, { images: 0.5, texts: 1 }), 2 / 3);
  });
});

test('a trial of the tiny model: all counts, positive costs, no more images than there are', () => {
  scope(() => {
    const model = new BlipRetrieval(randomState(tinyArchitecture), tinyArchitecture);
    const size = tinyArchitecture.vision.imageSize;
    const opened: number[] = [];
    const images = {
      count: 12,
      open(numbers: Int32Array) {
        opened.push(...numbers);
        let done = 0;
        const next = () => {
          const count = Math.min(4, numbers.length - done);
          done += count;
          return count === 0 ? null : { count, data: new Uint8Array(count * size * size * 3), release() {} };
        };
        return { next, close() {} };
      },
    };
    const texts = Array.from({ length: 30 }, (_, text) => Int32Array.of(101, 1000 + (text % 20), 2000, 102));
    const { counts, costs, sample, working } = tryEvaluation(
      model,
      { images, texts, encToken: 30523 },
      { kTest: 5, batchSize: 4, seconds: 0.05 },
    );
    assert.deepEqual(counts, { images: 12, texts: 30, distinct: 20, tokens: 80 });
    assert.ok(opened.every((image) => range(0, 12).includes(image)));
    assert.ok(sample.images >= 8 && sample.images <= 12 && sample.pairs > 0, JSON.stringify(sample));
    for (const [name, cost] of Object.entries(costs)) assert.ok(cost >= 0 && Number.isFinite(cost), `${name} ${cost}`);
    assert.ok(costs.image > 0 && costs.token > 0 && costs.work > 0 && costs.similarity > 0);
    assert.ok(costs.distinctShare > 0.5 && costs.distinctShare <= 1);
    assert.ok(working > 2 ** 25);
    const { perImage, held } = encodingBytes(model);
    assert.ok(perImage >= 0 && held > 2 ** 25);
  });
});
