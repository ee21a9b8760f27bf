// The training loop, from the first step to the last epoch's evaluation: reads top to bottom.
// Source: train and main of BLIP's train_retrieval.py. One step: losses, backward, AdamW; see TrainingModel.forward.
//
// The host waits for the device at three places: in forward, for the drawn negatives; at a logged step, for its losses and
// the norm of its gradients (losses of other steps set out for the host at once, and are there when the next step has its
// negatives); in save, for weights and averages.
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { TrainingConfig } from '../config/load.js';
import type { GradientSync } from '../distributed/data-parallel.js';
import { UserError } from '../errors.js';
import type { RetrievalMetrics } from '../evaluation/recall.js';
import { pythonFixed, pythonFloat } from '../logging/python-format.js';
import { referenceVoice } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import type { TrainingModel } from '../model/training-model.js';
import type { AdamW } from '../torch/adamw.js';
import * as ops from '../torch/ops.js';
import { scope } from '../torch/tensor.js';
import { Reading } from '../torch/transfer.js';
import { firstNotFinite } from './check-finite.js';
import { gatherRankStates, writeBestCheckpoint, writeLastCheckpoint } from './checkpoint.js';
import { EpochLog, type LoggedRun } from './epoch-log.js';
import type { TrainingOptions } from './options.js';
import { isMain, type RetrievalResult, type Run } from './run.js';
import { recallScalars } from './run-events.js';
import { addLine } from './run-logs.js';
import { emptyMeters, METERS, type MeterName, type MeterState, type RunIdentity, type RunState } from './run-state.js';
import { learningRate, softTargetShare } from './schedule.js';
import type { StopSignals } from './stop-signals.js';
import type { TrainingData } from './training-data.js';

/** What is trained, and on what. */
export interface Trainer {
  settings: TrainingConfig;
  model: TrainingModel;
  optimizer: AdamW;
  /** Averages gradients over the ranks. */
  sync: GradientSync;
  data: TrainingData;
  /** A signal makes the loop save at the next step's end and return. */
  signals: Pick<StopSignals, 'caught'>;
  /** Evaluates the online model on both splits. Only rank 0's answer counts. */
  evaluate(): Promise<RetrievalResult>;
}

/** A run; a program that has none of its own speaks as the reference does. */
export type TrainedRun = Omit<Run, 'voice'> & Partial<Pick<Run, 'voice'>>;

/** How a run or an epoch ended. */
export type Outcome = 'finished' | 'stopped';

/** What must be unchanged when the run is resumed. */
export function identityOf(
  { ranks, options }: Pick<Run, 'ranks' | 'options'>,
  { batchSize, rows }: TrainingData,
): RunIdentity {
  return { worldSize: ranks.worldSize, batchSize, rows, seed: options.seed };
}

/** Steps from the beginning of the run. */
export function stepsDone({ epoch, step }: RunState, { stepsPerEpoch }: Pick<TrainingData, 'stepsPerEpoch'>): number {
  return epoch * stepsPerEpoch + step;
}

/** Trains from `state` on, and moves it. A 'stopped' run has been saved and can be resumed. */
export async function train(run: TrainedRun, trainer: Trainer, state: RunState): Promise<Outcome> {
  const { config, options, ranks, print, voice = referenceVoice(print) } = run;
  const { settings, model, optimizer, data, signals } = trainer;
  const { maxEpoch } = settings;
  if (state.epoch >= maxEpoch) {
    print(
      `Training is complete: ${counted(state.epoch, 'epoch')} ${state.epoch === 1 ? 'is' : 'are'} done, and max_epoch is ${maxEpoch}. Raise it to train longer.`,
    );
    return 'finished';
  }
  const { maxSteps } = options.training;
  if (maxSteps !== undefined && stepsDone(state, data) >= maxSteps) return 'stopped';

  for (;;) {
    const { epoch } = state;
    const lr = learningRate(epoch, maxEpoch, settings.initLr, settings.minLr);
    const checkpoint = { model, optimizer, config: config.raw, epoch, lr };
    const save = async (): Promise<void> => {
      requireFinite(trainer, state);
      const states = gatherRankStates(ranks, model.device, state.meters);
      const path = join(options.outputDir, 'checkpoint_last.pth');
      if (isMain(run)) await writeLastCheckpoint(path, checkpoint, state, identityOf(run, data), states);
    };
    if ((await trainEpoch(run, trainer, state, lr, save)) === 'stopped') return 'stopped';

    // ---- the averages over all ranks
    const meters = ranks.gatherValues(state.meters);
    const total = (name: MeterName, of: keyof MeterState) => meters.reduce((sum, own) => sum + own[name][of], 0);
    const average = (name: MeterName) => total(name, 'total') / total(name, 'count');
    voice.echo(`Averaged stats: ${METERS.map((name) => `${name}: ${pythonFixed(average(name), 4)}`).join('  ')}`);

    // ---- evaluate; what was trained is saved first
    await save();
    if (ranks.any(signals.caught !== undefined)) return 'stopped';
    const { val, test } = await trainer.evaluate();
    if (val.metrics.r_mean > state.best || state.bestTest === undefined) {
      const best = Math.max(state.best, val.metrics.r_mean);
      Object.assign(state, { best, bestEpoch: epoch, bestTest: test.metrics });
      if (isMain(run)) await writeBestCheckpoint(join(options.outputDir, 'checkpoint_best.pth'), checkpoint);
    }
    if (isMain(run)) {
      const stats = METERS.map((name) => `"train_${name}": "${pythonFixed(average(name), 3)}"`);
      const metrics = (prefix: string, values: RetrievalMetrics) =>
        Object.entries(values).map(([key, value]) => `"${prefix}_${key}": ${pythonFloat(value)}`);
      const fields = [...stats, ...metrics('val', val.metrics), ...metrics('test', state.bestTest ?? test.metrics)];
      fields.push(`"epoch": ${epoch}`, `"best_epoch": ${state.bestEpoch}`);
      addLine(options.outputDir, 'log.txt', `{${fields.join(', ')}}`);
      for (const { name, metrics } of [val, test])
        run.events?.scalars((epoch + 1) * data.stepsPerEpoch, recallScalars(name, metrics));
      const losses = `ITA ${average('loss_ita').toFixed(3)}, ITM ${average('loss_itm').toFixed(3)}`;
      const recalls = [val, test].map(({ name, metrics }) => `${name} ${metrics.r_mean.toFixed(1)}`).join(', ');
      const best = state.bestEpoch === epoch ? 'the best' : `best: epoch ${state.bestEpoch + 1}`;
      voice.result(`Epoch ${epoch + 1}/${maxEpoch}: losses ${losses}; mean recall ${recalls} (${best})`);
    }

    if (epoch + 1 === maxEpoch) return 'finished';
    Object.assign(state, { epoch: epoch + 1, step: 0, meters: emptyMeters() });
  }
}

/** What an epoch's steps need of a run and its trainer. */
export type EpochRun = LoggedRun & {
  options: { training: Pick<TrainingOptions, 'accumulate' | 'saveEvery' | 'maxSteps'> };
};
export type EpochTrainer = Omit<Trainer, 'settings' | 'evaluate' | 'data'> & {
  settings: Pick<TrainingConfig, 'alpha'>;
  data: Pick<TrainingData, 'stepsPerEpoch' | 'open' | 'countBadImages' | 'hasTooManyBadImages'> &
    Partial<Pick<TrainingData, 'batchSize'>>;
};

/** The steps of one epoch that `state` has not done yet; moves `state`. `save` writes what a resume needs. */
export async function trainEpoch(
  run: EpochRun,
  { settings, model, optimizer, sync, data, signals }: EpochTrainer,
  state: RunState,
  lr: number,
  save: () => Promise<void>,
): Promise<Outcome> {
  const { accumulate, saveEvery, maxSteps } = run.options.training;
  const { stepsPerEpoch } = data;
  const { epoch, step: firstStep } = state;
  if (firstStep >= stepsPerEpoch) return 'finished';
  const imagesPerStep = data.batchSize === undefined ? undefined : data.batchSize * run.ranks.worldSize;
  const log = new EpochLog(run, state, lr, stepsPerEpoch, imagesPerStep);
  const batches = data.open(epoch, firstStep);
  try {
    for (let step = firstStep; step < stepsPerEpoch; step++) {
      const isLast = step === stepsPerEpoch - 1;
      const isUpdateStep = (step + 1) % accumulate === 0 || isLast;
      const microBatches = Math.min(accumulate, stepsPerEpoch - step + (step % accumulate)); // fewer at an epoch's end

      // # data: waits for the loader's workers
      log.beginStep();
      const batch = batches.next();
      if (batch === null)
        throw new UserError(
          `The image loader ended after ${step} of ${counted(stepsPerEpoch, 'step')} of epoch ${epoch}.`,
        );
      log.dataReady(batch.rows.length);
      log.addUnread(batch.unread);

      const pending = scope(() => {
        // # forward: waits for the device once, for the negatives
        if (isUpdateStep) sync.beforeForward();
        const { ita, itm, withoutNegative, backward, measures } = model.forward(
          batch,
          softTargetShare(settings.alpha, epoch, step, stepsPerEpoch),
        );
        log.readLosses(); // of the step before: they have arrived
        // Before the backward pass is queued, so that they need not wait for it.
        const early = log.isLogged(step) ? undefined : new Reading([itm, ita]);

        // # backward: in an update's last batch gradients are averaged over the ranks meanwhile
        sync.backward(() => backward(1 / microBatches), isUpdateStep);

        // # measure: only a logged step; gradients of part of an update are weighed as if it ended here
        const measure = () => {
          const { temperature, itmAccuracy } = measures();
          const norm = ops.mul(optimizer.gradientNorm(), microBatches / ((step % accumulate) + 1));
          return new Reading([itm, ita, temperature, itmAccuracy, norm]);
        };
        const losses = early ?? measure();

        // # update
        if (isUpdateStep) {
          optimizer.step(lr);
          optimizer.zeroGrad(); // now: they would stand beside the next step's activations, and through the evaluation
        }
        return { losses, withoutNegative };
      });
      batch.images.dispose();

      // # log: a logged step, of which the epoch's last is one, waits for its losses, and for the ranks' bad images
      log.add({ step, rows: batch.rows, ...pending });
      if (log.isLogged(step)) {
        log.readLosses();
        data.countBadImages();
      }
      log.endStep();
      state.step = step + 1;

      // # save, stop: signals are seen when the event loop turns; all ranks agree on a stop,
      // and count their bad images first: too many end the run here
      await setImmediate();
      if (!isUpdateStep) continue; // gradients of part of an update are in no checkpoint
      const steps = stepsDone(state, data);
      const isWanted = signals.caught !== undefined || data.hasTooManyBadImages;
      const stops = run.ranks.any(isWanted) || (maxSteps !== undefined && steps >= maxSteps);
      const isDue = saveEvery !== undefined && steps % saveEvery < accumulate && !isLast;
      if (stops || isDue) {
        log.readLosses();
        data.countBadImages();
        await save();
      }
      if (stops) {
        log.loop.abort();
        return 'stopped';
      }
    }
  } catch (error) {
    log.loop.abort();
    throw error;
  } finally {
    await batches.close();
  }
  log.end();
  return 'finished';
}

/** A finite loss can have gradients that overflow, and such weights must not replace the last good checkpoint. */
function requireFinite({ model, optimizer }: Pick<Trainer, 'model' | 'optimizer'>, { epoch, step }: RunState): void {
  const name = firstNotFinite(model, optimizer);
  if (name !== undefined)
    throw new UserError(
      `${name} is not finite after ${counted(step, 'step')} of epoch ${epoch}; the last checkpoint was left as it is. ` +
        'Lower init_lr or set `precision` to fp32, then `resume` from that checkpoint.',
    );
}
