// What the flags of the main command mean: defaults without a command line, values with one, what --evaluate ignores.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { addRetrievalOptions, defaultRetrievalOptions, launchFlags, retrievalOptions } from '#blip/commands/options.js';

const parsed = (...args: string[]) => addRetrievalOptions(new Command().exitOverride()).parse(args, { from: 'user' });

test('an empty command line gives the defaults', () => {
  const defaults = {
    config: './configs/retrieval_flickr.yaml',
    outputDir: 'output/Retrieval_flickr',
    evaluate: false,
    device: undefined,
    seed: 42,
    set: [],
    strictConfig: false,
    precision: 'fp32',
    saveScores: false,
    tensorboard: false,
    referenceOutput: false,
    dryRun: false,
    skipBadImages: false,
    allowOutsideImages: false,
    allowPartial: false,
    quiet: false,
    training: { resume: undefined, saveEvery: undefined, maxSteps: undefined, accumulate: 1, logEvery: 50 },
    collectiveTimeoutMs: 1_800_000,
    notes: [],
  };
  assert.deepEqual(defaultRetrievalOptions(), defaults);
  assert.deepEqual(retrievalOptions(parsed()), defaults);
  assert.deepEqual(launchFlags(parsed()), {
    nprocPerNode: '1',
    nnodes: 1,
    nodeRank: 0,
    masterAddr: '127.0.0.1',
    masterPort: undefined,
    maxRestarts: 0,
    collectiveTimeout: 1800,
    worldSize: 1,
    distUrl: 'env://',
    distributed: 'True',
    standalone: false,
    rdzvEndpoint: undefined,
    localRank: undefined,
    given: [],
  });
});

test('every flag reaches its option', () => {
  const command = parsed(
    ...['--config', 'a.yaml', '--output_dir', 'out', '--device', 'cuda', '--seed', '7', '--set', 'a=1', '--set', 'b=2'],
    ...[
      '--precision',
      'bf16',
      '--save_scores',
      '--skip_bad_images',
      '--allow_outside_images',
      '--allow_partial',
      '--quiet',
      '--resume',
      'x.pth',
      '--strict_config',
    ],
    ...['--save_every', '5', '--max_steps', '9', '--accumulate', '2', '--log_every', '3', '--collective_timeout', '60'],
    ...['--nproc_per_node', 'gpu', '--nnodes', '1:4', '--node_rank', '2', '--master_port', '0', '--max_restarts', '1'],
  );
  assert.deepEqual(retrievalOptions(command), {
    config: 'a.yaml',
    outputDir: 'out',
    evaluate: false,
    device: 'cuda:0',
    seed: 7,
    set: ['a=1', 'b=2'],
    strictConfig: true,
    precision: 'bf16',
    saveScores: true,
    tensorboard: false,
    referenceOutput: false,
    dryRun: false,
    skipBadImages: true,
    allowOutsideImages: true,
    allowPartial: true,
    quiet: true,
    training: { resume: 'x.pth', saveEvery: 5, maxSteps: 9, accumulate: 2, logEvery: 3 },
    collectiveTimeoutMs: 60_000,
    notes: [],
  });
  const { nprocPerNode, nnodes, nodeRank, masterPort, maxRestarts } = launchFlags(command);
  assert.deepEqual([nprocPerNode, nnodes, nodeRank, masterPort, maxRestarts], ['gpu', 4, 2, 0, 1]);
});

test('--resume alone means latest; --evaluate ignores what only training takes, and says so', () => {
  assert.equal(retrievalOptions(parsed('--resume')).training.resume, 'latest');
  const notes = (...args: string[]) => retrievalOptions(parsed('--evaluate', ...args)).notes;
  assert.deepEqual(notes(), []);
  assert.deepEqual(notes('--resume'), ['--resume applies to training only; ignored with --evaluate.']);
  assert.deepEqual(notes('--log_every', '50', '--max_steps', '2'), [
    '--max_steps, --log_every apply to training only; ignored with --evaluate.',
  ]);
});
