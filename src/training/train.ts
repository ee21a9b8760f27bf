// The training loop, from the first step to the last epoch's evaluation: reads top to bottom.
// Source: train and main of BLIP's train_retrieval.py. One step: losses, backward, AdamW; see TrainingModel.forward.
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { TrainingConfig } from '../config/load.js';
import { UserError } from '../errors.js';
import type { RetrievalMetrics } from '../evaluation/recall.js';
import type { StepLosses, TrainingModel } from '../model/training-model.js';
import { pythonFixed, pythonFloat } from '../python-format.js';
import type { AdamW } from '../torch/adamw.js';
import { scope, type Tensor } from '../torch/tensor.js';
import { lastValue, MetricLogger, type MetricLoggerOptions, SmoothedValue } from './metric-logger.js';
import { emptyMeters, METERS, type MeterName, type Progress, type RunIdentity } from './progress.js';
import { addLine, forgetLater } from './run-logs.js';
import { learningRate, softTargetShare } from './schedule.js';
import { captureRandom, type RankState, writeBestCheckpoint, writeLastCheckpoint } from './training-checkpoint.js';

/** One batch as the loop gets it: pixels on the device, token rows, numbers of the images, rows of the file. */
export interface LoadedBatch {
  images: Tensor; // (B, 3, P, P) normalised; the loop disposes it
  texts: Int32Array[];
  idx: number[];
  rows: number[];
}

/** The batches of an epoch from step `first` on. `next` blocks until one is there; null at the end. */
export interface EpochBatches {
  next(): LoadedBatch | null;
  close(): void | Promise<void>;
}

/** Ranks of a run as the loop sees them; a run of one process has none to wait for. */
export interface Ranks {
  rank: number;
  /** What each rank has for itself, in order; every rank must call it. */
  gatherStates(own: RankState): readonly RankState[];
  /** The sums over all ranks; every rank must call it. */
  sum(values: readonly number[]): number[];
  /** Whether any rank says so; every rank must call it. */
  any(flag: boolean): boolean;
  /** Called before a forward pass whose gradients are to be averaged. */
  beforeForward(): void;
  /** Runs the backward pass; with `average` its gradients become the means over all ranks. */
  backward(body: () => void, average: boolean): void;
}

export const onlyRank: Ranks = {
  rank: 0,
  gatherStates: (own) => [own],
  sum: (values) => [...values],
  any: (flag) => flag,
  beforeForward: () => {},
  backward: (body) => body(),
};

export interface TrainingRun {
  model: TrainingModel;
  optimizer: AdamW;
  settings: TrainingConfig;
  /** The config as its file gives it, for the checkpoints. */
  rawConfig: Readonly<Record<string, unknown>>;
  identity: RunIdentity;
  ranks: Ranks;
  stepsPerEpoch: number;
  openEpoch(epoch: number, first: number): EpochBatches;
  /** Evaluates the online model on both splits. Only rank 0's answer counts. */
  evaluate(): Promise<{ val: RetrievalMetrics; test: RetrievalMetrics }>;
  outputDir: string;
  /** Lines that an earlier run logged from here on are dropped; else new ones are added, as the reference does. */
  resuming: boolean;
  /** Write checkpoint_last.pth every so many steps, beside every epoch's end. */
  saveEvery?: number | undefined;
  /** End after so many steps of the whole run. */
  maxSteps?: number | undefined;
  /** Batches whose gradients are added up for one update of the weights. */
  accumulate: number;
  /** Print a line and add one to metrics.jsonl every so many steps, and at an epoch's last. */
  logEvery: number;
  logger: MetricLoggerOptions;
  print(line: string): void;
  /** Set by SIGINT or SIGTERM: the loop saves at the next step's end and returns. */
  stopping(): boolean;
}

/** How a run ended. */
export type Outcome = 'finished' | 'stopped';

/** The losses of a step that may still be on the device. */
interface Pending {
  step: number;
  losses: StepLosses;
  rows: number[];
}

/** Trains from `start` on. A 'stopped' run has been saved and goes on from there. */
export async function train(run: TrainingRun, start: Progress): Promise<Outcome> {
  const { settings, ranks, outputDir } = run;
  const isMain = ranks.rank === 0;
  const file = (name: string) => join(outputDir, name);
  if (isMain && run.resuming) await forgetLater(outputDir, start, run.stepsPerEpoch);
  let progress = start;

  const save = async (lr: number): Promise<void> => {
    const states = ranks.gatherStates({ random: captureRandom(run.model.device), meters: progress.meters });
    if (!isMain) return;
    const { model, optimizer, rawConfig, identity } = run;
    const checkpoint = { model, optimizer, config: rawConfig, epoch: progress.epoch, lr };
    await writeLastCheckpoint(file('checkpoint_last.pth'), checkpoint, progress, identity, states);
  };

  for (
    ;
    progress.epoch < settings.maxEpoch;
    progress = { ...progress, epoch: progress.epoch + 1, step: 0, meters: emptyMeters() }
  ) {
    const lr = learningRate(progress.epoch, settings.maxEpoch, settings.initLr, settings.minLr);
    const outcome = await trainEpoch(run, progress, lr, () => save(lr));
    if (outcome === 'stopped') return 'stopped';

    // ---- gather the stats of all ranks
    const flat = METERS.flatMap((name) => [progress.meters[name].total, progress.meters[name].count]);
    const summed = ranks.sum(flat);
    const average = (name: MeterName) => {
      const i = METERS.indexOf(name) * 2;
      return (summed[i] ?? 0) / (summed[i + 1] ?? 1);
    };
    run.print(`Averaged stats: ${METERS.map((name) => `${name}: ${pythonFixed(average(name), 4)}`).join('  ')}`);

    // ---- evaluate; what was trained is saved first
    await save(lr);
    const { val, test } = await run.evaluate();
    if (val.r_mean > progress.best || progress.bestTest === undefined) {
      progress = { ...progress, best: Math.max(progress.best, val.r_mean), bestEpoch: progress.epoch, bestTest: test };
      const { model, optimizer, rawConfig } = run;
      if (isMain)
        await writeBestCheckpoint(file('checkpoint_best.pth'), {
          model,
          optimizer,
          config: rawConfig,
          epoch: progress.epoch,
          lr,
        });
    }
    if (isMain) {
      const stats = METERS.map((name) => `"train_${name}": "${pythonFixed(average(name), 3)}"`);
      const metrics = (prefix: string, values: RetrievalMetrics) =>
        Object.entries(values).map(([key, value]) => `"${prefix}_${key}": ${pythonFloat(value)}`);
      const fields = [...stats, ...metrics('val', val), ...metrics('test', progress.bestTest ?? test)];
      fields.push(`"epoch": ${progress.epoch}`, `"best_epoch": ${progress.bestEpoch}`);
      addLine(outputDir, 'log.txt', `{${fields.join(', ')}}`);
    }
  }
  return 'finished';
}

/** What one epoch's steps need of a run. */
export type EpochRun = Omit<TrainingRun, 'rawConfig' | 'identity' | 'evaluate' | 'resuming' | 'settings'> & {
  settings: Pick<TrainingConfig, 'alpha'>;
};

/** The steps of one epoch that `progress` has not done yet; advances `progress`. `save` writes what a resume needs. */
export async function trainEpoch(
  run: EpochRun,
  progress: Progress,
  lr: number,
  save: () => Promise<void>,
): Promise<Outcome> {
  const { model, optimizer, settings, ranks, stepsPerEpoch, accumulate, logEvery } = run;
  const { epoch } = progress;
  const first = progress.step;
  if (first >= stepsPerEpoch) return 'finished';
  const logger = new MetricLogger(run.logger);
  logger.addMeter('lr', new SmoothedValue({ windowSize: 1, format: lastValue(6) }));
  logger.addMeter('loss_itm', new SmoothedValue({ windowSize: 1, format: lastValue(4) }));
  logger.addMeter('loss_ita', new SmoothedValue({ windowSize: 1, format: lastValue(4) }));
  const loop = logger.start(`Train Epoch: [${epoch}]`, stepsPerEpoch, logEvery, first);
  const batches = run.openEpoch(epoch, first);
  let withoutNegative = 0;
  let pending: Pending[] = [];

  /** Reads losses from the device and counts them in. */
  const settle = (): void => {
    for (const { step, losses, rows } of pending) {
      const values = { loss_itm: losses.itm.item(), loss_ita: losses.ita.item() };
      losses.itm.dispose();
      losses.ita.dispose();
      if (!Number.isFinite(values.loss_itm) || !Number.isFinite(values.loss_ita))
        throw new UserError(
          `the loss is not finite (ITM ${values.loss_itm}, ITA ${values.loss_ita}) in epoch ${epoch}, step ${step}, rank ${ranks.rank}, ` +
            `rows ${rows.map((row) => row + 1).join(', ')} of the training file: lower init_lr, or use --precision fp32; --resume latest goes on from the last save`,
        );
      withoutNegative += losses.withoutNegative;
      for (const [name, value] of Object.entries({ lr, ...values }) as [MeterName, number][]) {
        progress.meters[name].total += value;
        progress.meters[name].count += 1;
      }
      logger.update({ lr, ...values });
      if (ranks.rank === 0 && (step % logEvery === 0 || step === stepsPerEpoch - 1))
        addLine(run.outputDir, 'metrics.jsonl', JSON.stringify({ epoch, step, lr, ...values }));
    }
    pending = [];
  };

  try {
    for (let step = first; step < stepsPerEpoch; step++) {
      const batch = batches.next();
      if (batch === null)
        throw new UserError(`the image loader ended after ${step} of ${stepsPerEpoch} steps of epoch ${epoch}`);
      loop.dataReady();
      const alpha = softTargetShare(settings.alpha, epoch, step, stepsPerEpoch);
      const updates = (step + 1) % accumulate === 0 || step === stepsPerEpoch - 1;

      // ---- one step; forward waits for the device once, for the negatives
      if (updates) ranks.beforeForward();
      const losses = scope(() => {
        const result = model.forward(batch, alpha);
        settle(); // the step before: its losses have long been computed
        if (step % accumulate === 0) optimizer.zeroGrad();
        ranks.backward(() => result.backward(1 / accumulate), updates);
        if (updates) optimizer.step(lr);
        return { ita: result.ita, itm: result.itm, withoutNegative: result.withoutNegative };
      });
      batch.images.dispose();
      pending.push({ step, losses: { ...losses, backward: () => {} }, rows: batch.rows });
      if (step % logEvery === 0 || step === stepsPerEpoch - 1) settle();
      loop.step();
      progress.step = step + 1;

      // ---- signals are seen when the event loop turns; a stop is agreed upon by all ranks
      await setImmediate();
      if (!updates) continue; // gradients of part of an update are in no checkpoint
      const steps = epoch * stepsPerEpoch + step + 1;
      const ends = ranks.any(run.stopping()) || (run.maxSteps !== undefined && steps >= run.maxSteps);
      const due = run.saveEvery !== undefined && steps % run.saveEvery < accumulate && step + 1 < stepsPerEpoch;
      if (ends || due) {
        settle();
        await save();
      }
      if (ends) {
        loop.abort();
        return 'stopped';
      }
    }
  } catch (error) {
    loop.abort();
    throw error;
  } finally {
    await batches.close();
  }
  loop.end();
  if (withoutNegative > 0)
    run.print(
      `${withoutNegative} rows of this epoch had no other image or text in their batch to be told from, and went without that negative`,
    );
  return 'finished';
}
