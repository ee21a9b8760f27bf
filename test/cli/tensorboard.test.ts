// --tensorboard and metrics.jsonl of a training as a user runs it: the same numbers in both, and no step twice after a resume.
// Covers training/run-events, training/epoch-log.
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { before, test } from 'node:test';
import { eventFiles, readEvents, shownScalars } from '../helpers/event-file.js';
import { comparable } from '../helpers/same-results.js';
import { TinyRuns } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ few: true, flags: ['--log_every', '2'] });
before(() => tiny.write());

/** The lines of metrics.jsonl of a run. */
const metrics = (output: string): Record<string, number>[] =>
  tiny
    .read(output, 'metrics.jsonl')
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

test('a resumed run leaves each step once, with the numbers of a run that was never stopped', async () => {
  const whole = await tiny.run('whole');
  assert.equal(whole.code, 0, whole.stderr);
  assert.ok(!existsSync(tiny.path('whole', 'tensorboard')), 'only where it is asked for');
  for (const more of [['--max_steps', '5'], ['--max_steps', '15', '--resume'], ['--resume']]) {
    const { code, stderr } = await tiny.run('parts', '--tensorboard', ...more);
    assert.equal(code, 0, stderr);
  }
  const [a, b] = ['whole', 'parts'].map((name) => comparable('metrics.jsonl', tiny.read(name, 'metrics.jsonl')));
  assert.equal(String(b), String(a));

  const lines = metrics('parts');
  const scalars = shownScalars(tiny.path('parts', 'tensorboard'));
  const steps = lines.map(({ epoch = 0, step = 0 }) => epoch * 12 + step);
  for (const [key, tag] of [
    ['loss_itm', 'loss/itm'],
    ['grad_norm', 'optimizer/grad_norm'],
    ['temperature', 'optimizer/temperature'],
    ['images_per_second', 'speed/images_per_second'],
  ] as const) {
    const points = scalars.get(tag) ?? [];
    assert.deepEqual(
      points.map(([step]) => step),
      steps,
      tag,
    );
    for (const [i, [, value]] of points.entries()) assert.equal(value, Math.fround(lines[i]?.[key] ?? Number.NaN), tag);
  }
  assert.deepEqual(
    scalars.get('recall_val/r_mean')?.map(([step]) => step),
    [12, 24],
    'recalls of two epochs',
  );
  const files = eventFiles(tiny.path('parts', 'tensorboard'));
  assert.equal(files.length, 3);
  const [config] = files.flatMap(readEvents).flatMap(({ values }) => values.filter(({ text }) => text !== undefined));
  assert.match(config?.text ?? '', /^ {4}batch_size_train: 4$/m);

  // The gallery of each epoch: five images side by side, and the caption.
  const values = files.flatMap(readEvents).flatMap(({ step, values }) => values.map((value) => ({ step, ...value })));
  const first = values.filter(({ tag, image }) => image !== undefined && tag === 'gallery/random 1');
  assert.deepEqual(
    first.map(({ step, image }) => [step, image?.width, image?.height]),
    [
      [12, 680, 136],
      [24, 680, 136],
    ],
  );
  assert.deepEqual([...(first[0]?.image?.bytes.subarray(0, 2) ?? [])], [0xff, 0xd8], 'a JPEG');
  const caption = values.find(({ tag }) => tag === 'gallery/random 1 caption');
  assert.match(caption?.text ?? '', / \(right image at rank \d+\)$/);
});

test('the numbers of a logged step are what they say', () => {
  for (const line of metrics('whole')) {
    const {
      temperature = 0,
      itm_accuracy = -1,
      grad_norm = 0,
      data_wait = -1,
      images_per_second = 0,
      memory_mib = 0,
    } = line;
    assert.ok(temperature >= 0.001 && temperature <= 0.5);
    assert.ok(Number.isInteger(Math.round(itm_accuracy * 12 * 1e4) / 1e4), '12 pairs a step of 4 rows');
    assert.ok(grad_norm > 0 && data_wait >= 0 && images_per_second > 0 && memory_mib > 10);
  }
});

test('batches that are added up to one update have the norm of their mean gradient', async () => {
  const { code, stderr } = await tiny.run('sum', '--accumulate', '3', '--max_steps', '3');
  assert.equal(code, 0, stderr);
  const [first] = metrics('whole');
  const [alone, sum] = metrics('sum');
  // One batch of three so far, as if it were the only one; a third of its loss, times three, is rounded.
  const [own = Number.NaN, whole = 0] = [alone?.grad_norm, first?.grad_norm];
  assert.ok(Math.abs(own - whole) <= 1e-6 * whole, `${own} instead of ${whole}`);
  assert.ok(sum?.grad_norm !== undefined && sum.grad_norm > 0);
});

test('an evaluation writes its recalls', async () => {
  const { code, stderr } = await tiny.run('evaluated', '--evaluate', '--tensorboard');
  assert.equal(code, 0, stderr);
  assert.equal(readdirSync(tiny.path('evaluated', 'tensorboard')).length, 1);
  const scalars = shownScalars(tiny.path('evaluated', 'tensorboard'));
  assert.deepEqual(
    [...scalars.keys()].filter((tag) => tag.endsWith('/txt_r1')),
    ['recall_val/txt_r1', 'recall_test/txt_r1'],
  );
});

test('an evaluation in the folder of a training leaves the numbers of the training, and is a run of its own', async () => {
  const before = shownScalars(tiny.path('parts', 'tensorboard'));
  const { code, stderr } = await tiny.run('parts', '--evaluate', '--tensorboard');
  assert.equal(code, 0, stderr);
  assert.deepEqual(shownScalars(tiny.path('parts', 'tensorboard')), before);
  const own = shownScalars(tiny.path('parts', 'tensorboard', 'evaluation'));
  assert.deepEqual(
    own.get('recall_test/r_mean')?.map(([step]) => step),
    [0],
  );
});
