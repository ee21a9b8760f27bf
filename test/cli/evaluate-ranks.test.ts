// Evaluation by several processes: the scores of one, also where images change ranks, cannot be read, or are too few.
// Covers evaluation/work-split, evaluate, distributed/process-group.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { NOT_RERANKED } from '#blip/evaluation/scores.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { hostTest } from '../helpers/device.js';
import { readJson } from '../helpers/tensors.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

const tiny = new TinyRuns();
before(() => tiny.write());

const evaluate = (output: string, ranks: number, ...more: string[]) =>
  tiny.run(output, '--nproc_per_node', String(ranks), '--evaluate', '--save_scores', ...more);

function scoresOf(output: string, split: 'val' | 'test'): Map<string, Float32Array> {
  const tensors = readSafetensors(tiny.path(output, `scores_${split}.safetensors`));
  return new Map(
    [...tensors].map(([name, { data: bytes }]) => [name, new Float32Array(bytes.slice().buffer)] as const),
  );
}

test('two and three processes give the scores and recalls of one', async () => {
  // With few candidates a few images are in most texts' lists: an equal number of images is far from equal work.
  const one = await evaluate('one', 1, '--set', 'k_test=3');
  assert.equal(one.code, 0, one.stderr);
  for (const ranks of [2, 3]) {
    const several = await evaluate(`by${ranks}`, ranks, '--set', 'k_test=3');
    assert.equal(several.code, 0, several.stderr);
    for (const split of ['val', 'test'] as const) {
      const expected = scoresOf('one', split);
      for (const [direction, scores] of scoresOf(`by${ranks}`, split)) {
        const wanted = expected.get(direction);
        assert.equal(scores.length, wanted?.length);
        scores.forEach((score, i) => {
          const other = wanted?.[i] ?? Number.NaN;
          assert.equal(score === NOT_RERANKED, other === NOT_RERANKED, `${split} ${direction} ${i}`);
          assert.ok(Math.abs(score - other) < 1e-5, `${split} ${direction} ${i}: ${score} instead of ${other}`);
        });
      }
    }
    assert.deepEqual(readJson(tiny.path(`by${ranks}`, 'evaluate.txt')), readJson(tiny.path('one', 'evaluate.txt')));
    // 10 images of val: rank 0 encodes its equal share, and re-ranks what makes the work equal.
    const [encoded, reranked] = ['Features', 'Evaluation'].map((loop) =>
      Number(new RegExp(`^${loop}: {2}\\[ *0/(\\d+)\\]`, 'm').exec(several.stdout)?.[1]),
    );
    assert.equal(encoded, Math.round(10 / ranks));
    assert.notEqual(reranked, encoded, 'this data set is one in which images change ranks');
  }
});

hostTest('an image that cannot be read is counted over all ranks, once', async () => {
  const broken = tiny.path('broken');
  mkdirSync(join(broken, 'annotation'), { recursive: true });
  const splits = ['val', 'test'].map((split) => {
    const file = `coco_karpathy_${split}.json`;
    const rows = readJson<{ image: string }[]>(join(tinyData, 'annotation', file));
    const absent = rows.map((row, i) => (i === rows.length - 2 ? { ...row, image: `absent_${i}.jpg` } : row));
    writeFileSync(join(broken, 'annotation', file), JSON.stringify(absent));
    return { split, images: rows.length, bad: absent.filter(({ image }) => image.startsWith('absent')).length };
  });
  const annotations = ['--skip_bad_images', '--set', `ann_root=${join(broken, 'annotation')}`, '--set', 'k_test=3'];
  const run = await evaluate('counted', 2, ...annotations);
  assert.equal(run.code, 0, run.stderr);
  for (const { split, images, bad } of splits)
    assert.match(
      run.stdout,
      new RegExp(
        `^${bad} of ${images} images of ${split} could not be read .*The first is .*absent_\\d+\\.jpg\\.$`,
        'm',
      ),
    );
});

test('more processes than images', async () => {
  const annotations = tiny.path('single');
  mkdirSync(annotations);
  for (const split of ['val', 'test']) {
    const file = `coco_karpathy_${split}.json`;
    const [first] = readJson<object[]>(join(tinyData, 'annotation', file));
    writeFileSync(join(annotations, file), JSON.stringify([first]));
  }
  const run = await evaluate('single_out', 2, '--set', `ann_root=${annotations}`);
  assert.equal(run.code, 0, run.stderr);
  assert.equal(readJson<Record<string, number>>(tiny.path('single_out', 'evaluate.txt')).val_r_mean, 100);
});
