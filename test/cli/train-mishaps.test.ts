// What can cost a night of fine-tuning: bad data, numbers that overflow, settings that change, signals, a wrong resume.
// Covers commands/fine-tune, training/resume, run-logs, check-finite, folder-lock, data/require-images.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { flattenCheckpoint, openCheckpoint } from '#blip/torch/checkpoint/index.js';
import { hostTest } from '../helpers/device.js';
import { assertSameResult, RESULTS } from '../helpers/same-results.js';
import { readJson } from '../helpers/tensors.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ few: true });
const stepOf = (output: string) =>
  flattenCheckpoint(openCheckpoint(tiny.path(output, 'checkpoint_last.pth'))).values.get('resume/step');

/** A copy of the annotations in which `change` was made to the rows of one split. */
function annotations<T>(name: string, split: string, change: (rows: T[]) => T[]): string {
  const path = tiny.path(name);
  cpSync(tiny.annRoot, path, { recursive: true });
  const annotation = join(path, `coco_karpathy_${split}.json`);
  writeFileSync(annotation, JSON.stringify(change(readJson<T[]>(annotation))));
  return path;
}

// Two runs that the tests copy and continue: `whole` has trained two epochs of 12 steps, `part` 7 steps.
before(async () => {
  await tiny.write();
  const whole = await tiny.run('whole');
  assert.equal(whole.code, 0, whole.stderr);
  const part = await tiny.run('part', '--max_steps', '7');
  assert.equal(part.code, 0, part.stderr);
});

/** A copy of the output of another run. */
function copyOf(output: string, name: string): string {
  cpSync(tiny.path(output), tiny.path(name), { recursive: true });
  return name;
}

hostTest('an image that cannot be read ends training, or is counted over all ranks', async () => {
  const images = tiny.path('images');
  cpSync(join(tinyData, 'images'), images, { recursive: true });
  truncateSync(join(images, 'train/train_000010.jpg'), 500);
  const strict = await tiny.run('strict', '--set', `image_root=${images}`);
  assert.equal(strict.code, 1);
  assert.match(strict.stderr, /train_000010\.jpg is truncated or damaged .*--skip_bad_images/);
  const lenient = await tiny.run(
    'lenient',
    ...['--set', `image_root=${images}`, '--set', 'max_epoch=1', '--skip_bad_images', '--nproc_per_node', '2'],
  );
  assert.equal(lenient.code, 0, lenient.stderr);
  // Said at once, by the rank that has the image.
  assert.match(
    lenient.stdout + lenient.stderr,
    /^(Rank 1: )?The image .*train_000010\.jpg is truncated or damaged .* It is replaced by a grey image;/m,
  );
  // Two captions of this image, whichever rank has them.
  assert.match(
    lenient.stdout,
    /^2 rows of this epoch had an image that could not be read .*The first is .*train_000010\.jpg\.$/m,
  );
});

hostTest('a wrong image_root and images that are all bad are no matter for --skip_bad_images', async () => {
  const absent = tiny.path('nothing_here');
  mkdirSync(absent);
  const wrong = await tiny.run('wrong_root', '--set', `image_root=${absent}`, '--skip_bad_images');
  assert.equal(wrong.code, 1);
  assert.match(
    wrong.stderr,
    /^error: 24 of the 24 images of the train split do not exist; the first is .* 5 of the 5 images of the val split .* 5 of the 5 images of the test split .* Correct image_root/,
  );
  assert.doesNotMatch(wrong.stderr, /--skip_bad_images/);
  assert.doesNotMatch(wrong.stdout, /Start training/);

  const pointers = tiny.path('pointers');
  cpSync(join(tinyData, 'images'), pointers, { recursive: true });
  for (const name of readdirSync(join(pointers, 'train')))
    writeFileSync(join(pointers, 'train', name), 'version https://git-lfs.github.com/spec/v1\n');
  const bad = await tiny.run('all_bad', '--set', `image_root=${pointers}`, '--skip_bad_images');
  assert.equal(bad.code, 1);
  assert.match(
    bad.stderr,
    /^error: More than 1 of the 24 images of the train split cannot be read: too many .*is a Git LFS pointer/,
  );
});

for (const split of ['train', 'val'])
  hostTest(`an image of the ${split} split that is not there is found before training`, async () => {
    const path = annotations<{ image: string }>(`absent_${split}`, split, (rows) =>
      rows.map((row, i) => (i === rows.length - 1 ? { ...row, image: 'nowhere/at_all.jpg' } : row)),
    );
    const { code, stdout, stderr } = await tiny.run(`absent_${split}_out`, '--set', `ann_root=${path}`);
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`^error: 1 of the \\d+ images of the ${split} split do not exist; the first is .*at_all\\.jpg`),
    );
    assert.doesNotMatch(stdout, /Start training/);
  });

test('weights that have overflowed while the loss was finite are not saved over those that are sound', async () => {
  copyOf('part', 'overflow');
  const before = tiny.read('overflow', 'checkpoint_last.pth');
  const { code, stderr } = await tiny.run('overflow', '--resume', '--save_every', '1', '--set', 'weight_decay=1e45');
  assert.equal(code, 1);
  assert.match(stderr, /is not finite after 8 steps of epoch 0; the last checkpoint was left as it is\. Lower init_lr/);
  assert.ok(tiny.read('overflow', 'checkpoint_last.pth').equals(before));
});

hostTest('a resumed run says which settings are others, and refuses those that would begin anew', async () => {
  copyOf('part', 'changed');
  const told = await tiny.run('changed', '--resume', '--max_steps', '8', '--set', 'init_lr=5e-5', '--set', 'alpha=0.1');
  assert.equal(told.code, 0, told.stderr);
  assert.match(
    told.stdout,
    /^Settings that changed since the checkpoint was written: alpha 0\.4, now 0\.1; init_lr 0\.0001, now 0\.00005\.$/m,
  );
  const refused = await tiny.run('changed', '--resume', '--set', 'queue_size=32');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /cannot be resumed: image_queue is \[256,64\] in it and \[256,32\] here/);
});

hostTest('a run that has done its steps does no more', async () => {
  copyOf('part', 'enough');
  const { code, stdout, stderr } = await tiny.run('enough', '--resume', '--max_steps', '7');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Stopped after 7 steps/m);
  assert.equal(stepOf('enough'), 7);
});

hostTest(
  'a second run into the folder of one that trains is refused, and one that was killed bars nobody',
  async () => {
    const command = tiny.start('shared', '--set', 'max_epoch=1000', '--save_every', '1');
    await command.says('Train Epoch: [0]');
    command.kill('SIGSTOP'); // it is there as before, and leaves the processors to the others
    const second = await tiny.run('shared', '--max_steps', '1', '--set', 'alpha=0.1');
    assert.equal(second.code, 1);
    assert.match(
      second.stderr,
      new RegExp(`^error: Another run is training into .*shared \\(process ${command.pid} on `),
    );
    assert.match(tiny.read('shared', 'config.yaml').toString(), /alpha: 0\.4/);
    const evaluation = await tiny.run('shared', '--evaluate');
    assert.equal(evaluation.code, 0, evaluation.stderr);
    command.kill('SIGKILL');
    await command.ended;
    const resumed = await tiny.run('shared', '--resume', '--max_steps', '1');
    assert.equal(resumed.code, 0, resumed.stderr);
  },
);

hostTest('to resume what was never saved costs no line of log.txt', async () => {
  mkdirSync(tiny.path('unsaved'));
  cpSync(tiny.path('whole', 'log.txt'), tiny.path('unsaved', 'log.txt'));
  const { code, stdout, stderr } = await tiny.run('unsaved', '--resume', '--max_steps', '1');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /checkpoint_last\.pth does not exist yet: starting from the beginning\.$/m);
  assert.ok(tiny.read('unsaved', 'log.txt').equals(tiny.read('whole', 'log.txt')));
});

hostTest('with fewer epochs than were trained nothing is done, and nothing lost', async () => {
  copyOf('whole', 'shorter');
  const { code, stdout, stderr } = await tiny.run('shorter', '--resume', '--set', 'max_epoch=1');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Training is complete: 1 epoch is done, and max_epoch is 1\. Raise it to train longer\.$/m);
  assert.ok(tiny.read('shorter', 'log.txt').equals(tiny.read('whole', 'log.txt')));
});

hostTest('a run that goes on from checkpoint_best.pth does not replace it by a worse one', async () => {
  copyOf('whole', 'best');
  const epoch = flattenCheckpoint(openCheckpoint(tiny.path('best', 'checkpoint_best.pth'))).values.get('epoch');
  // Recalls that no later epoch can exceed.
  const lines = tiny.read('best', 'log.txt').toString().trimEnd().split('\n');
  const perfect = lines.map((line) => {
    const fields = JSON.parse(line);
    return JSON.stringify(fields.epoch === epoch ? { ...fields, best_epoch: epoch, val_r_mean: 100 } : fields);
  });
  writeFileSync(tiny.path('best', 'log.txt'), `${perfect.join('\n')}\n`);
  const more = ['--resume', tiny.path('best', 'checkpoint_best.pth'), '--set', 'max_epoch=3'];
  const { code, stderr } = await tiny.run('best', ...more);
  assert.equal(code, 0, stderr);
  assert.ok(tiny.read('best', 'checkpoint_best.pth').equals(tiny.read('whole', 'checkpoint_best.pth')));
  const last = JSON.parse(tiny.read('best', 'log.txt').toString().trimEnd().split('\n').at(-1) ?? '');
  assert.deepEqual([last.epoch, last.best_epoch], [2, epoch]);

  rmSync(tiny.path('best', 'log.txt'));
  const unknown = await tiny.run('best', ...more, '--max_steps', '1');
  assert.match(unknown.stdout, /^The log\.txt beside it does not have its recalls: /m);
});

test('a signal ends an evaluation at once, and the resumed run ends as if there had been none', async () => {
  // Long enough that a process that waited for its end would be seen to print its recalls.
  const path = annotations('long', 'val', (rows) => Array.from({ length: 40 }, () => rows).flat());
  const more = ['--set', `ann_root=${path}`, '--set', 'max_epoch=1'];
  const undisturbed = await tiny.run('undisturbed', ...more);
  assert.equal(undisturbed.code, 0, undisturbed.stderr);
  const command = tiny.start('disturbed', ...more);
  await command.says('Computing features');
  command.kill('SIGINT');
  const { signal, stdout } = await command.ended;
  assert.equal(signal, 'SIGINT');
  assert.doesNotMatch(stdout, /r_mean/);
  assert.ok(!existsSync(tiny.path('disturbed', 'log.txt')));
  const resumed = await tiny.run('disturbed', ...more, '--resume');
  assert.equal(resumed.code, 0, resumed.stderr);
  for (const name of RESULTS) assertSameResult(name, tiny.path('disturbed'), tiny.path('undisturbed'));
});

test('the last batches of an epoch count as much as the others, however few are added up', async () => {
  // An epoch has 12 steps: both are one update from the mean of 12 gradients.
  const weights = [];
  for (const accumulate of ['12', '100']) {
    const { code, stderr } = await tiny.run(`sum${accumulate}`, '--accumulate', accumulate, '--max_steps', '12');
    assert.equal(code, 0, stderr);
    weights.push(tiny.read(`sum${accumulate}`, 'checkpoint_last.pth'));
  }
  assert.ok(weights[0]?.equals(weights[1] ?? new Uint8Array()));
});

test('what memory is short for is named, with the settings of training', async () => {
  const { code, stderr } = await tiny.run('memory', '--set', 'queue_size=10000000000000');
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^error: Training with batch_size_train 4 at image_size 96 needs more than \d+\.\d TB of memory .*\. Take a smaller vit or queue_size, or /,
  );
});
