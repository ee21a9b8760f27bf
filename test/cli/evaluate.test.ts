// The main command as a user runs it: config, checkpoint and data in; evaluate.txt, config.yaml, scores and a table out.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { hostTest, testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { fixture } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import { readJson } from '../helpers/tensors.js';
import { type ConfigValues, evaluationValues, tinyCheckpoint, tinyData, writeConfigFile } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const checkpoint = join(folder, 'rule_tiny.pth');

before(async () => {
  await tinyCheckpoint(folder);
});

/** Writes a config and gives its path. */
function config(name: string, changes: ConfigValues = {}): string {
  return writeConfigFile(join(folder, `${name}.yaml`), { ...evaluationValues(checkpoint), ...changes });
}

test('evaluates to the recalls of the reference', async () => {
  const output = join(folder, 'out');
  const args = [
    '--config',
    config('plain'),
    '--output_dir',
    output,
    '--evaluate',
    '--device',
    testDevice,
    '--save_scores',
  ];
  const { code, stdout, stderr } = await runCli(args, { NODE_OPTIONS: '' }); // images are decoded on as many threads as by default
  assert.equal(code, 0, stderr);
  const { metrics } = readJson<{ metrics: Record<'val' | 'test', Record<string, number>> }>(
    fixture('rule_tiny/eval.json') as string,
  );
  const expected = Object.fromEntries(
    (['val', 'test'] as const).flatMap((split) =>
      Object.entries(metrics[split]).map(([key, value]) => [`${split}_${key}`, value]),
    ),
  );
  assert.deepEqual(readJson(join(output, 'evaluate.txt')), expected);
  assert.match(readFileSync(join(output, 'config.yaml'), 'utf8'), /^k_test: 8$/m);
  const scores = readSafetensors(join(output, 'scores_test.safetensors'));
  assert.deepEqual(
    [...scores].map(([name, { shape, dtype }]) => [name, shape, dtype]),
    [
      ['i2t', [24, 119], 'float32'],
      ['t2i', [119, 24], 'float32'],
    ],
  );
  assert.match(stdout, /^Evaluation: {2}\[ 0\/24\] {2}eta: /m);
  assert.match(stdout, /^{'txt_r1': 40\.0, 'txt_r5': 60\.0/m);
  assert.match(stdout, /Recall in percent\nval: 10 images, 50 captions/);

  const second = await runCli(args.filter((arg) => arg !== '--save_scores'));
  assert.equal(second.code, 0, second.stderr);
  const lines = readFileSync(join(output, 'evaluate.txt'), 'utf8').trimEnd().split('\n');
  assert.equal(lines.length, 2, 'a second evaluation adds a line');
  assert.equal(lines[0], lines[1]);
});

const wrong: [what: string, changes: ConfigValues, message: RegExp][] = [
  ['a checkpoint that is absent', { pretrained: join(folder, 'absent.pth') }, /absent\.pth/],
  [
    'a checkpoint that is no checkpoint',
    { pretrained: join(tinyData, 'annotation/coco_karpathy_val.json') },
    /coco_karpathy_val\.json/,
  ],
  ['another vit', { vit: 'base', image_size: 384 }, /Check vit/],
  ['another image_root', { image_root: join(folder, 'nowhere') }, /nowhere/],
  ['a config with a wrong key', { k_tets: 3 }, /k_tets.*k_test/],
];
for (const [what, changes, message] of wrong) {
  hostTest(`${what} ends with one sentence and exit code 1`, async () => {
    const path = config(what.replaceAll(' ', '_'), changes);
    const result = await runCli([
      '--config',
      path,
      '--output_dir',
      join(folder, 'wrong'),
      '--evaluate',
      '--device',
      testDevice,
    ]);
    assert.equal(result.code, 1);
    assert.match(result.stderr, message);
    assert.doesNotMatch(result.stderr, /\n\s+at /, 'no stack');
  });
}

hostTest('an explicit GPU where there is none is refused with the reason', async (t) => {
  const { native } = await import('#blip/torch/native.js');
  if (native().deviceCount() > 0) return t.skip('this machine has a GPU');
  const args = ['--config', config('gpu'), '--output_dir', join(folder, 'gpu'), '--evaluate', '--device', 'cuda'];
  const { code, stderr } = await runCli(args);
  assert.equal(code, 1);
  assert.match(stderr, /Device cuda cannot be used: .+\. Run `doctor`/);
});
