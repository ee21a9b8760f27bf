// A rehearsal at COCO's size with the tiny model: 113,287 images and 566,747 captions to the first steps of training; an
// evaluation of 5,000 images and 25,010 captions, k_test 256, in one process and in two. Prints what docs/benchmarks.md
// records. Covers data/training-set, annotations, evaluation/*, distributed/launcher.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { COCO, type Cost, costOf, writeCocoSize } from '../helpers/coco-size.js';
import { temporaryFolder } from '../helpers/files.js';
import { tinyCheckpoint, trainingValues, writeConfigFile } from '../helpers/tiny-run.js';

const SMALL = [64, 320] as const;

async function configIn(folder: string, splits: Parameters<typeof writeCocoSize>[1]): Promise<string> {
  const { imageRoot, annRoot } = writeCocoSize(folder, splits);
  const values = { ...trainingValues(await tinyCheckpoint(folder)), image_root: imageRoot, ann_root: annRoot };
  const sizes = { batch_size_train: 32, batch_size_test: 64, k_test: 256, queue_size: 57_600 };
  return writeConfigFile(join(folder, 'coco.yaml'), { ...values, ...sizes });
}

const line = (what: string, { cpuSeconds, peakBytes }: Cost) =>
  console.log(`${what}: ${cpuSeconds.toFixed(1)} CPU seconds, ${(peakBytes / 2 ** 20).toFixed(0)} MiB a process`);

test('training on COCO’s rows comes to its first steps', async () => {
  const folder = temporaryFolder();
  const config = await configIn(folder, { train: COCO.train, val: SMALL, test: SMALL });
  const run = (name: string, ...more: string[]) =>
    costOf([...more, '--config', config, '--output_dir', join(folder, name), '--device', 'cpu', '--max_steps', '5']);
  const one = await run('one');
  line('training, 5 steps, one process', one);
  assert.match(one.stdout, /^Train Epoch: \[0\] {2}\[ +0\/17710\]/m);
  assert.match(one.stdout, /^Stopped after 5 steps/m);
  const two = await run('two', '--nproc_per_node', '2');
  line('training, 5 steps, two processes', two);
  assert.match(two.stdout, /^Stopped after 5 steps/m);
});

test('COCO’s test split has the same recalls in one process and in two', async () => {
  const folder = temporaryFolder();
  const config = await configIn(folder, { val: SMALL, test: COCO.test });
  const run = async (name: string, ...more: string[]) => {
    const output = join(folder, name);
    const cost = await costOf([...more, '--config', config, '--output_dir', output, '--device', 'cpu', '--evaluate']);
    line(`evaluation of 5,000 images and 25,010 captions, ${name}`, cost);
    return readFileSync(join(output, 'evaluate.txt'), 'utf8');
  };
  const one = await run('one process');
  const two = await run('two processes', '--nproc_per_node', '2');
  assert.equal(two, one);
  assert.match(one, /"test_txt_r1": /);
});
