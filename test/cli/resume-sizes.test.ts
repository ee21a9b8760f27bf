// A run whose config leaves out the sizes of the model is continued from its own checkpoint, without the file where it began.
// Covers commands/run, resumed-checkpoint.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyCheckpoint, trainingValues, writeConfigFile } from '../helpers/tiny-run.js';

test('sizes that the config leaves out are those of the checkpoint that is continued', async (t) => {
  const folder = temporaryFolder(t);
  const began = await tinyCheckpoint(folder);
  const { vit: _vit, image_size: _size, queue_size: _queue, ...values } = trainingValues(began);
  const config = writeConfigFile(join(folder, 'train.yaml'), values);
  const output = join(folder, 'run');
  const train = (...more: string[]) => runCli(['--config', config, '--output_dir', output, '--device', 'cpu', ...more]);
  assert.equal((await train('--max_steps', '1')).code, 0);
  rmSync(began);
  for (const resume of ['latest', join(output, 'checkpoint_last.pth')]) {
    const { code, stdout, stderr } = await train('--max_steps', '2', '--resume', resume);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /leaves out vit tiny, image_size 96, queue_size 64: as .*checkpoint_last\.pth needs it\.$/m);
  }
  const { code, stderr } = await train('--max_steps', '2');
  assert.equal(code, 1);
  assert.match(stderr, /rule_tiny\.pth does not exist/);
});
