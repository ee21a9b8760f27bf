// The demo at a small size: draws, evaluates, trains, evaluates, reports; stopped and resumed it goes on.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';

const folder = temporaryFolder();

test('draws, evaluates, trains, evaluates and writes a report', async () => {
  const output = join(folder, 'out');
  const args = ['demo', '--train_images', '16', '--images', '10', '--epochs', '1', '--output_dir', output];
  const { code, stdout, stderr } = await runCli(args, { OMP_NUM_THREADS: '1' });
  assert.equal(code, 0, stderr);
  if (testDevice !== 'cpu') assert.doesNotMatch(stdout, /Running on the CPU/);
  assert.equal(stdout.match(/^Recall in percent$/gm)?.length, 2, 'a table before and one after');
  assert.match(stdout, /^Train Epoch: \[0\] {2}\[0\/2\]/m); // 80 rows in batches of 32
  assert.match(stdout, /Test recall at 1 before and after: text \d+\.\d % and \d+\.\d %/);
  const report = readFileSync(join(output, 'report.html'), 'utf8');
  assert.match(report, /<svg [^>]*>[\s\S]*<polyline class="s0" points="[\d., -]+"/);
  assert.match(report, /<th scope="col">before<\/th>/);
  assert.match(report, /Caption, R@10<\/th><td><b [^>]*>\d+\.\d\d<\/b><\/td>/);
  assert.ok(existsSync(join(output, 'checkpoint_best.pth')));

  assert.match(stdout, /^Each picture shows two shapes/m);
  const short = `npx blip-retrieval demo --resume --output_dir ${output}`;
  assert.ok(stdout.includes(`\n  ${short}\n`), 'the folder has the other flags');
  const repeated = `<code>npx blip-retrieval demo --output_dir ${output} --train_images 16 --images 10 --epochs 1</code>`;
  assert.ok(report.includes(repeated));
  const remade = await runCli(['report', output]);
  assert.equal(remade.code, 0, remade.stderr);
  assert.equal(readFileSync(join(output, 'report.html'), 'utf8'), report, 'made again, it says the same');

  const resume = ['demo', '--resume', '--output_dir', output];
  for (const mixing of [
    [...args, '--seed', '7'],
    [...args, '--images', '12'],
    [...resume, '--images', '12'],
  ]) {
    const mixed = await runCli(mixing);
    assert.equal(mixed.code, 2);
    assert.match(
      mixed.stderr,
      /^error: .*data holds a data set of --seed 42 --train_images 16 --images 10, and this demo asks for .*--output_dir\.\n$/,
    );
  }

  const again = await runCli(resume, { OMP_NUM_THREADS: '1' });
  assert.equal(again.code, 0, again.stderr);
  assert.doesNotMatch(again.stdout, /^Drawing/m);
  assert.match(again.stdout, /Resuming .*checkpoint_last\.pth in epoch 0 after step 2/);
  assert.equal(readFileSync(join(output, 'log.txt'), 'utf8').trimEnd().split('\n').length, 1);

  const longer = await runCli([...resume, '--epochs', '2'], { OMP_NUM_THREADS: '1' });
  assert.equal(longer.code, 0, longer.stderr);
  const settings = readFileSync(join(output, 'data/demo.json'), 'utf8');
  const fewer = await runCli([...resume, '--epochs', '1']);
  assert.equal(fewer.code, 2);
  assert.match(
    fewer.stderr,
    /checkpoint_last\.pth is in epoch 2, and --epochs asks for 1 epoch\. Give --epochs 2 or more/,
  );
  assert.equal(fewer.stdout, '', 'nothing is evaluated, and no report written over the one that is there');
  assert.equal(readFileSync(join(output, 'data/demo.json'), 'utf8'), settings);
});
