// What changes in the course of training: the learning rate by epoch, the share of soft targets by step.

/** Cosine from `initLr` to `minLr` over `maxEpoch` epochs, constant within an epoch; as BLIP's cosine_lr_schedule. */
export function learningRate(epoch: number, maxEpoch: number, initLr: number, minLr: number): number {
  return (initLr - minLr) * 0.5 * (1 + Math.cos((Math.PI * epoch) / maxEpoch)) + minLr;
}

/** `alpha`, in epoch 0 ramped up from 0 in equal steps: the momentum model's targets are noise at first. */
export function softTargetShare(alpha: number, epoch: number, step: number, stepsPerEpoch: number): number {
  return epoch > 0 ? alpha : alpha * Math.min(1, step / stepsPerEpoch);
}
