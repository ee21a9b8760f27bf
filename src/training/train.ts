// The training loop, from the first step to the last epoch's evaluation: reads top to bottom.
// Source: train and main of BLIP's train_retrieval.py. One step: losses, backward, AdamW; see TrainingModel.forward.
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { TrainingConfig } from '../config/load.js';
import { UserError } from '../errors.js';
import type { RetrievalMetrics } from '../evaluation/recall.js';
import { lastValue, MetricLogger, type MetricLoggerOptions, SmoothedValue } from '../logging/metric-logger.js';
import { pythonFixed, pythonFloat } from '../logging/python-format.js';
import type { StepLosses, TrainingModel } from '../model/training-model.js';
import type { AdamW } from '../torch/adamw.js';
import { scope } from '../torch/tensor.js';
import { firstNotFinite } from './check-finite.js';
import { captureRandom, type RankState, writeBestCheckpoint, writeLastCheckpoint } from './checkpoint.js';
import type { EpochBatches } from './epoch-batches.js';
import { addLine, forgetLater } from './run-logs.js';
import { emptyMeters, METERS, type MeterName, type MeterState, type Progress, type RunIdentity } from './run-state.js';
import { learningRate, softTargetShare } from './schedule.js';

/** Ranks of a run as the loop sees them; a run of one process has none to wait for. */
export interface Ranks {
  rank: number;
  /** What each rank has for itself, in order; every rank must call it. */
  gatherStates(own: RankState): readonly RankState[];
  /** A value that JSON can hold, of each rank, in order; every rank must call it. */
  gather<T>(own: T): readonly T[];
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
  gather: (own) => [own],
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

/** How an epoch ended. */
export type Outcome = 'finished' | 'stopped';

/** How a run ended, and after how many steps from its beginning. */
export interface Ended {
  outcome: Outcome;
  steps: number;
}

/** The losses of a step that may still be on the device. */
interface Pending {
  step: number;
  losses: StepLosses;
  rows: number[];
}

/** Trains from `start` on. A 'stopped' run has been saved and goes on from there. */
export async function train(run: TrainingRun, start: Progress): Promise<Ended> {
  const { settings, ranks, outputDir, maxSteps } = run;
  const isMain = ranks.rank === 0;
  const file = (name: string) => join(outputDir, name);
  const ended = (outcome: Outcome): Ended => ({ outcome, steps: stepsDone(run, progress) });
  let progress = start;
  if (start.epoch >= settings.maxEpoch) {
    run.print(
      `Nothing is left to train: the run stands in epoch ${start.epoch}, counted from 0, and max_epoch is ${settings.maxEpoch}`,
    );
    return ended('finished');
  }
  if (isMain && run.resuming) await forgetLater(outputDir, start, run.stepsPerEpoch);
  if (maxSteps !== undefined && stepsDone(run, start) >= maxSteps) return ended('stopped');

  const save = async (lr: number): Promise<void> => {
    const unsound = firstNotFinite(run.model, run.optimizer);
    if (unsound !== undefined)
      throw new UserError(
        `${unsound} is not finite after ${progress.step} steps of epoch ${progress.epoch}, and the last checkpoint was left as it is: ` +
          'lower init_lr, or use --precision fp32; --resume latest goes on from that checkpoint',
      );
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
    if (outcome === 'stopped') return ended('stopped');

    // ---- gather the stats of all ranks
    const meters = ranks.gather(progress.meters);
    const total = (name: MeterName, of: keyof MeterState) => meters.reduce((sum, own) => sum + own[name][of], 0);
    const average = (name: MeterName) => total(name, 'total') / total(name, 'count');
    run.print(`Averaged stats: ${METERS.map((name) => `${name}: ${pythonFixed(average(name), 4)}`).join('  ')}`);

    // ---- evaluate; what was trained is saved first
    await save(lr);
    if (ranks.any(run.stopping())) return ended('stopped');
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
  return ended('finished');
}

/** Steps from the beginning of the run to `progress`. */
function stepsDone({ stepsPerEpoch }: Pick<TrainingRun, 'stepsPerEpoch'>, { epoch, step }: Progress): number {
  return epoch * stepsPerEpoch + step;
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
  const met = { withoutNegative: 0, unread: [] as string[] };
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
      met.withoutNegative += losses.withoutNegative;
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
      met.unread.push(...batch.unread);
      const alpha = softTargetShare(settings.alpha, epoch, step, stepsPerEpoch);
      const updates = (step + 1) % accumulate === 0 || step === stepsPerEpoch - 1;
      const together = Math.min(accumulate, stepsPerEpoch - step + (step % accumulate)); // an epoch's last may be fewer

      // ---- one step; forward waits for the device once, for the negatives
      if (updates) ranks.beforeForward();
      const losses = scope(() => {
        const result = model.forward(batch, alpha);
        settle(); // the step before: its losses have long been computed
        if (step % accumulate === 0) optimizer.zeroGrad();
        ranks.backward(() => result.backward(1 / together), updates);
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
      const steps = stepsDone(run, progress);
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
  reportOdd(run, ranks.gather(met));
  return 'finished';
}

/** Says what of an epoch's rows was not as it should be, on all ranks. */
function reportOdd(
  { print }: Pick<TrainingRun, 'print'>,
  met: readonly { withoutNegative: number; unread: string[] }[],
) {
  const unread = met.flatMap((own) => own.unread);
  if (unread.length > 0)
    print(
      `${unread.length} rows of this epoch had an image that could not be read and were trained on as grey: ${unread[0]} is the first`,
    );
  const withoutNegative = met.reduce((sum, own) => sum + own.withoutNegative, 0);
  if (withoutNegative > 0)
    print(
      `${withoutNegative} rows of this epoch had no other image or text in their batch to be told from, and went without that negative`,
    );
}
