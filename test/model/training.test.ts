// Twelve training steps against the reference's, with dropout 0.
// Covers model/training-model, losses, queues, itm-pairs, torch/adamw.
import { test } from 'node:test';
import { loadTrainingState } from '#blip/model/pretrained.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { openTensorFile } from '#blip/torch/checkpoint/index.js';
import { absent, fixture } from '../helpers/fixtures.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { checkTraining, trainingArchitecture } from '../helpers/training-golden.js';

for (const checkpointedBlocks of [0, 2])
  test(`rule_tiny: twelve steps, ${checkpointedBlocks} blocks recomputed`, async () => {
    await checkTraining(
      ruleWeights(stateDictEntries(trainingArchitecture), { scale: 0.15 }),
      {
        json: fixture('rule_tiny/train_nodrop.json') as string,
        tensors: fixture('rule_tiny/train_nodrop.safetensors') as string,
        images: fixture('rule_tiny/data/images') as string,
      },
      { checkpointedBlocks },
    );
  });

test('rule_tiny in bf16: twelve steps stay on the curve of the losses', async () => {
  await checkTraining(
    ruleWeights(stateDictEntries(trainingArchitecture), { scale: 0.15 }),
    {
      json: fixture('rule_tiny/train_nodrop.json') as string,
      tensors: fixture('rule_tiny/train_nodrop.safetensors') as string,
      images: fixture('rule_tiny/data/images') as string,
    },
    { precision: 'bf16', checkpointedBlocks: 1, tolerance: { loss: 0.05, norm: 0, value: 0 } },
  );
});

test('tiny.pth: twelve steps', async (t) => {
  const [checkpoint, json, tensors, images] = [
    'tiny.pth',
    'train_nodrop.json',
    'train_nodrop.safetensors',
    'data/images',
  ].map(fixture);
  if (!checkpoint || !json || !tensors || !images) return t.skip(absent('train_nodrop.json'));
  using file = await openTensorFile(checkpoint);
  const { state } = loadTrainingState(file, trainingArchitecture, { seed: 0 });
  await checkTraining(state, { json, tensors, images });
});
