// The log of one epoch: losses, which come from the device one step late; meters, printed lines, metrics.jsonl, odd rows.
import type { UnreadImage } from '../data/bad-images.js';
import { at, UserError } from '../errors.js';
import { type LoopLog, lastValue, MetricLogger, SmoothedValue } from '../logging/metric-logger.js';
import { Pace } from '../logging/pace.js';
import { counted } from '../logging/text.js';
import type { StepLosses } from '../model/training-model.js';
import type { Reading } from '../torch/transfer.js';
import type { RunOptions, TrainingOptions } from './options.js';
import type { Run } from './run.js';
import { trainingScalars } from './run-events.js';
import { addLine } from './run-logs.js';
import { METERS, type MeterName, type RunState } from './run-state.js';

/**
 * The losses of a step, on their way from the device: ITM and ITA, each one float32; of a logged step also its temperature,
 * the ITM head's accuracy and the norm of the gradients.
 */
export type PendingLosses = Pick<StepLosses, 'withoutNegative'> & { losses: Reading; step: number; rows: number[] };

/** What the log needs of a run. */
export type LoggedRun = Pick<Run, 'ranks' | 'logger' | 'print'> & {
  events?: Run['events'];
  config?: { training?: { maxEpoch: number } | undefined };
  options: Pick<RunOptions, 'outputDir'> & { training: Pick<TrainingOptions, 'logEvery'> };
};

export class EpochLog {
  readonly #logger: MetricLogger;
  readonly loop: LoopLog;
  readonly #pace: Pace;
  #pending: PendingLosses[] = [];
  readonly #odd = { withoutNegative: 0, unread: [] as string[] };

  constructor(
    readonly run: LoggedRun,
    readonly state: RunState,
    readonly lr: number,
    readonly stepsPerEpoch: number,
    imagesPerStep?: number,
  ) {
    this.#logger = new MetricLogger(run.logger);
    for (const name of METERS)
      this.#logger.addMeter(name, new SmoothedValue({ windowSize: 1, format: lastValue(name === 'lr' ? 6 : 4) }));
    this.#pace = new Pace(run.logger.now);
    const { epoch, step } = state;
    const of = run.config?.training === undefined ? '' : `/${run.config.training.maxEpoch}`;
    this.loop = this.#logger.start(`Train Epoch: [${epoch}]`, stepsPerEpoch, run.options.training.logEvery, step, {
      label: `Training epoch ${epoch + 1}${of}`,
      ...(imagesPerStep !== undefined && { unit: 'images', each: imagesPerStep }),
    });
  }

  /** Whether `step` has a printed line and one in metrics.jsonl. */
  isLogged(step: number): boolean {
    return step % this.run.options.training.logEvery === 0 || step === this.stepsPerEpoch - 1;
  }

  /** A step begins: it waits for its batch. */
  beginStep(): void {
    this.#pace.begin();
  }

  /** Its batch is there, with this rank's `rows`. */
  dataReady(rows: number): void {
    this.#pace.dataReady(rows * this.run.ranks.worldSize);
    this.loop.dataReady();
  }

  endStep(): void {
    this.#pace.end();
    this.loop.step();
  }

  /** Counts rows with a grey image, and says so at once of the first that this rank meets in the epoch. */
  addUnread(images: readonly UnreadImage[]): void {
    const [first] = images;
    if (first !== undefined && this.#odd.unread.length === 0) {
      const { ranks, print } = this.run;
      const line = `${first.message} It is replaced by a grey image; the epoch's end says how many were.`;
      if (ranks.rank === 0) print(line);
      else process.stderr.write(`Rank ${ranks.rank}: ${line}\n`); // rank 0 learns of it at the epoch's end
    }
    this.#odd.unread.push(...images.map(({ path }) => path));
  }

  add(losses: PendingLosses): void {
    this.#pending.push(losses);
  }

  /** Reads the losses that were added and counts them in. Waits for the device where they are not there yet. */
  readLosses(): void {
    const pending = this.#pending;
    this.#pending = [];
    for (const losses of pending) this.#read(losses);
  }

  #read({ step, rows, losses, withoutNegative }: PendingLosses): void {
    const { lr, state, run } = this;
    const read = losses.finishFloat32();
    const loss = (index: number) => at(at(read, index), 0);
    const values: Record<MeterName, number> = { lr, loss_itm: loss(0), loss_ita: loss(1) };
    if (!Number.isFinite(values.loss_itm) || !Number.isFinite(values.loss_ita))
      throw new UserError(
        `The loss is not finite (ITM ${values.loss_itm}, ITA ${values.loss_ita}) in epoch ${state.epoch}, step ${step}, rank ${run.ranks.rank}, ` +
          `rows ${rows.map((row) => row + 1).join(', ')} of the training file. Lower init_lr or set \`precision\` to fp32, then \`resume\` from the last save.`,
      );
    this.#odd.withoutNegative += withoutNegative;
    for (const name of METERS) {
      state.meters[name].total += values[name];
      state.meters[name].count += 1;
    }
    this.#logger.update(values);
    if (!this.isLogged(step)) return;
    const measured = { ...values, temperature: loss(2), itm_accuracy: loss(3), grad_norm: loss(4), ...this.#speed() };
    if (run.ranks.rank !== 0) return;
    addLine(run.options.outputDir, 'metrics.jsonl', JSON.stringify({ epoch: state.epoch, step, ...measured }));
    run.events?.scalars(state.epoch * this.stepsPerEpoch + step, trainingScalars(measured));
  }

  /** What differs from run to run, since the last logged step; the most memory since the start. */
  #speed() {
    const { dataWait, imagesPerSecond } = this.#pace.take();
    const bytes = this.run.logger.maxMemory?.() ?? process.resourceUsage().maxRSS * 1024;
    return {
      data_wait: Number(dataWait.toFixed(6)),
      images_per_second: Number(imagesPerSecond.toPrecision(5)),
      memory_mib: Math.round(bytes / 2 ** 20),
    };
  }

  /** Ends the log of a complete epoch, and says which rows of all ranks were not as they should be. */
  end(): void {
    this.loop.end();
    const { ranks, print } = this.run;
    const odd = ranks.gatherValues(this.#odd);
    const unread = odd.flatMap((own) => own.unread);
    if (unread.length > 0)
      print(
        `${counted(unread.length, 'row')} of this epoch had an image that could not be read and was replaced by grey. The first is ${unread[0]}.`,
      );
    const withoutNegative = odd.reduce((sum, own) => sum + own.withoutNegative, 0);
    if (withoutNegative > 0)
      print(
        `${counted(withoutNegative, 'row')} of this epoch had no negative: every other row of their batch shows the same image.`,
      );
  }
}
