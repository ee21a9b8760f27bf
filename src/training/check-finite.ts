// Whether weights and optimizer are finite: a broken checkpoint must not replace a good one.
import type { TrainingModel } from '../model/training-model.js';
import type { AdamW } from '../torch/adamw.js';
import * as ops from '../torch/ops.js';
import { noGrad, scope, type Tensor } from '../torch/tensor.js';

/**
 * What holds a number that is not finite, if anything does: a finite loss can have gradients that overflow. Waits for
 * the device once.
 */
export function firstNotFinite(model: TrainingModel, optimizer: AdamW): string | undefined {
  const names = [...model.parameters.keys()];
  const all: [what: string, tensor: Tensor][] = [...model.parameters].map(([name, tensor]) => [name, tensor]);
  for (const [index, { expAvg, expAvgSq }] of optimizer.state)
    for (const tensor of [expAvg, expAvgSq]) all.push([`the optimizer's average for ${names[index]}`, tensor]);
  // A sum is finite only where all that is added up is.
  const sums = noGrad(() => scope(() => ops.stack(all.map(([, tensor]) => ops.sum(tensor))).float32()));
  return all[sums.findIndex((sum) => !Number.isFinite(sum))]?.[0];
}
