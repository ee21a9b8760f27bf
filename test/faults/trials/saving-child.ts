// A process that does nothing but save, for trials that kill it: checkpoint_last.pth and checkpoint_best.pth by turns.
// Arguments: folder, number of the first save, number of the last (none: without end). The epoch in a file is its number.
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { oneRank } from '#blip/distributed/ranks.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { AdamW } from '#blip/torch/adamw.js';
import * as ops from '#blip/torch/ops.js';
import { keep } from '#blip/torch/tensor.js';
import { gatherRankStates, writeBestCheckpoint, writeLastCheckpoint } from '#blip/training/checkpoint.js';
import { emptyMeters, initialState } from '#blip/training/run-state.js';
import { ruleWeights } from '../../helpers/rule-weights.js';
import { tinyArchitecture } from '../../helpers/tiny-run.js';

const [folder = '', first = '1', last = 'Infinity'] = process.argv.slice(2);
const model = new TrainingModel(ruleWeights(stateDictEntries(tinyArchitecture), { scale: 0.15 }), tinyArchitecture, {
  negativeAllRank: true,
  checkpointedBlocks: 0,
  encToken: 30523,
});
const optimizer = new AdamW([...model.parameters.values()], { weightDecay: 0.05 });
for (const [index, parameter] of optimizer.parameters.entries()) {
  const zeros = () => keep(ops.zeros(parameter.shape));
  optimizer.state.set(index, { step: keep(ops.zeros([])), expAvg: zeros(), expAvgSq: zeros() });
}

/** Says so before and after, at once: what was said before a kill arrives. */
async function say(what: string, save: () => Promise<void>): Promise<void> {
  writeSync(1, `saving ${what}\n`);
  await save();
  writeSync(1, `saved ${what}\n`);
}

writeSync(1, 'ready\n');
for (let number = Number(first); number <= Number(last); number++) {
  const checkpoint = { model, optimizer, config: { vit: 'tiny' }, epoch: number, lr: 1e-5 };
  const identity = { worldSize: 1, batchSize: 4, rows: 48, seed: 42 };
  const states = gatherRankStates(oneRank, 'cpu', emptyMeters());
  await say(`last ${number}`, () =>
    writeLastCheckpoint(join(folder, 'checkpoint_last.pth'), checkpoint, initialState(), identity, states),
  );
  await say(`best ${number}`, () => writeBestCheckpoint(join(folder, 'checkpoint_best.pth'), checkpoint));
}
