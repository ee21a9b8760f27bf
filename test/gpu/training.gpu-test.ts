// Twelve training steps on a GPU against the reference's, with dropout 0.
// Covers model/training-model, torch/adamw on a GPU.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attendVariableLength, attentionFor } from '#blip/model/packed-attention.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { cudaState } from '#blip/torch/cuda.js';
import { fixture } from '../helpers/fixtures.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { checkTraining, trainingArchitecture } from '../helpers/training-golden.js';

const { count, problem } = cudaState();
const skip = count > 0 ? false : `no GPU: ${problem}`;

for (const checkpointedBlocks of [0, 2])
  test(`rule_tiny on a GPU: twelve steps, ${checkpointedBlocks} blocks recomputed`, { skip }, async () => {
    await checkTraining(
      ruleWeights(stateDictEntries(trainingArchitecture), { scale: 0.15 }),
      {
        json: fixture('rule_tiny/train_nodrop.json') as string,
        tensors: fixture('rule_tiny/train_nodrop.safetensors') as string,
        images: fixture('rule_tiny/data/images') as string,
      },
      { checkpointedBlocks, device: 'cuda:0', tolerance: { loss: 1e-3, norm: 2e-2, value: 1e-3 } },
    );
  });

test('rule_tiny on a GPU in bf16: twelve steps stay on the curve of the losses', { skip }, async () => {
  await checkTraining(
    ruleWeights(stateDictEntries(trainingArchitecture), { scale: 0.15 }),
    {
      json: fixture('rule_tiny/train_nodrop.json') as string,
      tensors: fixture('rule_tiny/train_nodrop.safetensors') as string,
      images: fixture('rule_tiny/data/images') as string,
    },
    { device: 'cuda:0', precision: 'bf16', tolerance: { loss: 0.05, norm: 0, value: 0 } },
  );
});

for (const dtype of ['float32', 'bfloat16'] as const)
  test(`training has chosen the variable-length attention in ${dtype}`, { skip }, () => {
    const attend = attentionFor(trainingArchitecture.text, 'cuda:0', dtype, { gradients: true });
    assert.equal(attend, attendVariableLength);
  });
