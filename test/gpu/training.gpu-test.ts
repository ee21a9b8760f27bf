// Twelve training steps on a GPU against the reference's, with dropout 0.
import { test } from 'node:test';
import { modelEntries } from '#blip/model/entries.js';
import { ruleWeights } from '#blip/model/rule-weights.js';
import { cudaState } from '#blip/torch/cuda.js';
import { fixture } from '../helpers/fixtures.js';
import { checkTraining, trainingArchitecture } from '../helpers/training-golden.js';

const { count, problem } = cudaState();
const skip = count > 0 ? false : `no GPU: ${problem}`;

for (const checkpointedBlocks of [0, 2])
  test(`rule_tiny on a GPU: twelve steps, ${checkpointedBlocks} blocks recomputed`, { skip }, async () => {
    await checkTraining(
      ruleWeights(modelEntries(trainingArchitecture), { scale: 0.15 }),
      {
        json: fixture('rule_tiny/train_nodrop.json') as string,
        tensors: fixture('rule_tiny/train_nodrop.safetensors') as string,
        images: fixture('rule_tiny/data/images') as string,
      },
      { checkpointedBlocks, device: 'cuda:0', tolerance: { loss: 1e-3, norm: 2e-2, value: 1e-3 } },
    );
  });
