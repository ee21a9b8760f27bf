// Wrong use of the bench command: one sentence and exit code 2, before anything is started.
// Covers commands/bench.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommanderError } from 'commander';
import { benchCommand } from '#blip/commands/bench.js';
import { UserError } from '#blip/errors.js';

function run(...args: string[]): Promise<unknown> {
  const quiet = { writeErr: () => {}, writeOut: () => {} };
  return benchCommand().exitOverride().configureOutput(quiet).parseAsync(args, { from: 'user' });
}

const wrongUse: readonly [args: string[], message: RegExp][] = [
  [['rerank'], /needs --reference DIR/],
  [['train'], /bench train needs --reference DIR/],
  [['train', '--reference', '.', '--image_size', '40'], /--image_size 40 is not a multiple of 16/],
  [['open'], /bench open needs --reference DIR/],
  [['train-loader'], /bench train-loader needs --reference DIR/],
  [['rerank', '--reference', '.', '--image_size', '100'], /--image_size 100 is not a multiple of 16/],
  [['rerank', '--reference', '.', '--texts', '3'], /--texts 3 is fewer than --images 8/],
  [['rerank', '--reference', '.', '--k', '9'], /--k 9 is above the number of images, 8/],
  [['rerank', '--against', 'blip'], /bench rerank needs --reference DIR/],
  [['open', '--against', 'transformers'], /bench open has nothing to do with --against transformers/],
  [['train', '--against', 'transformers'], /against transformers, which has no training for retrieval/],
  [['rerank', '--against', 'fp32'], /--against fp32 is for another precision/],
  [['--against', 'fp32'], /--against fp32 is for another precision/],
  [['all', '--precision', 'bf16'], /bench all is a table for CPUs/],
  [['all', '--texts', '3'], /--texts 3 is fewer than --images 8/],
  [['ranks', '--threads', '2', '--rank_threads', '2'], /2 threads cannot make several ranks of 2/],
  [['ranks', '--device', 'cuda'], /bench ranks divides the cores of a CPU/],
  [['scaling', '--images', '4'], /at least 8 of each/],
  [['--scaling', '--images', '16', '--k', '16'], /--k 16 is too large for --images 16\. Give --images 64 or more/],
];
for (const [args, message] of wrongUse) {
  test(`bench ${args.join(' ')}`, async () => {
    await assert.rejects(run(...args), (error) => {
      assert.ok(error instanceof UserError, String(error));
      assert.equal(error.exitCode, 2);
      assert.match(error.message, message);
      return true;
    });
  });
}

for (const args of [
  ['nothing'],
  ['rerank', '--rounds', '0'],
  ['rerank', '--images', 'many'],
  ['rerank', '--vit', 'huge'],
  ['train', '--steps', '0'],
  ['train', '--vit_ckpt_layer', '-1'],
  ['rerank', '--precision', 'fp8'],
  ['rerank', '--against', 'tensorflow'],
  ['all', '--only', 'rerank,nothing'],
]) {
  test(`bench ${args.join(' ')} is refused by the parser`, async () => {
    await assert.rejects(run(...args), (error) => error instanceof CommanderError && error.exitCode !== 0);
  });
}
