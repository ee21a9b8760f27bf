// One of two ranks that repeat the reference's recorded two-process training (ddp.json): see golden.test.ts.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { preCaption } from '#blip/data/caption.js';
import { ProcessGroup } from '#blip/distributed/process-group.js';
import { rankFromEnvironment } from '#blip/distributed/rank.js';
import { at } from '#blip/errors.js';
import { loadTrainingState } from '#blip/model/pretrained.js';
import { openTensorFile } from '#blip/torch/checkpoint/index.js';
import { native } from '#blip/torch/native.js';
import * as ops from '#blip/torch/ops.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { scope, type Tensor } from '#blip/torch/tensor.js';
import { deviceOfRank } from '../helpers/device.js';
import { fixture } from '../helpers/fixtures.js';
import { readJson } from '../helpers/tensors.js';
import {
  type RecordedRun,
  type RecordedStep,
  repeatTraining,
  trainingArchitecture,
} from '../helpers/training-golden.js';

/** A step as ddp.json has it: rows of the training file in place of their captions and images. */
interface RankStep extends Omit<RecordedStep, 'lr' | 'captions' | 'images' | 'grad_norms'> {
  rows: number[];
  grad_norms_after_all_reduce: Record<string, number>;
}

/** The recorded steps of one rank. */
function recordedRun(rank: number): RecordedRun {
  const { lr, ranks } = readJson<{ lr: number; ranks: RankStep[][] }>(fixture('ddp.json') as string);
  const data = fixture('data') as string;
  const file = readJson<{ image: string; caption: string }[]>(join(data, 'annotation/coco_karpathy_train.json'));
  return {
    steps: at(ranks, rank).map(({ rows, grad_norms_after_all_reduce: grad_norms, ...step }) => ({
      ...step,
      lr,
      grad_norms,
      captions: rows.map((row) => preCaption(at(file, row).caption)),
      images: rows.map((row) => at(file, row).image),
    })),
    images: join(data, 'images'),
    tensors: readSafetensors(fixture('ddp.safetensors') as string),
  };
}

/** Initial weights. Rank 1's are wrong: the exchange at the start must replace them by rank 0's. */
async function initialState(rank: number): Promise<Map<string, Tensor>> {
  using file = await openTensorFile(fixture('tiny.pth') as string);
  const { state } = loadTrainingState(file, trainingArchitecture, { seed: 0 });
  if (rank === 1)
    // In a scope: left to the garbage collector, the ones would disappear during the steps' count of handles.
    scope(() => {
      const one = ops.float32([1], []);
      for (const tensor of state.values()) if (tensor.dtype === 'float32') ops.addInPlace(tensor, one);
    });
  return state;
}

const self = rankFromEnvironment(process.env);
assert.ok(self, 'the environment gives a rank');
const device = deviceOfRank(self.rank);
if (device !== 'cpu') native().setDevice(self.rank);
const group = ProcessGroup.init({ ...self, device, joinTimeoutMs: 60_000, timeoutMs: 60_000 });
const run = recordedRun(self.rank);
await repeatTraining(await initialState(self.rank), run, {
  group,
  device,
  checkpointedBlocks: Number(process.argv[2]),
});
process.stdout.write(`${JSON.stringify({ steps: run.steps.length })}\n`);
group.destroy();
