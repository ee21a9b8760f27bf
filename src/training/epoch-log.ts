// The log of one epoch: losses, which come from the device one step late; meters, printed lines, metrics.jsonl, odd rows.
import type { UnreadImage } from '../data/bad-images.js';
import { at, UserError } from '../errors.js';
import { type LoopLog, lastValue, MetricLogger, SmoothedValue } from '../logging/metric-logger.js';
import type { StepLosses } from '../model/training-model.js';
import type { Reading } from '../torch/transfer.js';
import type { RunOptions, TrainingOptions } from './options.js';
import type { Run } from './run.js';
import { addLine } from './run-logs.js';
import { METERS, type MeterName, type RunState } from './run-state.js';

/** The losses of a step, on their way from the device: ITM and ITA, each one float32. */
export type PendingLosses = Pick<StepLosses, 'withoutNegative'> & { losses: Reading; step: number; rows: number[] };

/** What the log needs of a run. */
export type LoggedRun = Pick<Run, 'ranks' | 'logger' | 'print'> & {
  options: Pick<RunOptions, 'outputDir'> & { training: Pick<TrainingOptions, 'logEvery'> };
};

export class EpochLog {
  readonly #logger: MetricLogger;
  readonly loop: LoopLog;
  #pending: PendingLosses[] = [];
  readonly #odd = { withoutNegative: 0, unread: [] as string[] };

  constructor(
    readonly run: LoggedRun,
    readonly state: RunState,
    readonly lr: number,
    readonly stepsPerEpoch: number,
  ) {
    this.#logger = new MetricLogger(run.logger);
    for (const name of METERS)
      this.#logger.addMeter(name, new SmoothedValue({ windowSize: 1, format: lastValue(name === 'lr' ? 6 : 4) }));
    const { epoch, step } = state;
    this.loop = this.#logger.start(`Train Epoch: [${epoch}]`, stepsPerEpoch, run.options.training.logEvery, step);
  }

  /** Whether `step` has a printed line and one in metrics.jsonl. */
  isLogged(step: number): boolean {
    return step % this.run.options.training.logEvery === 0 || step === this.stepsPerEpoch - 1;
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
    if (run.ranks.rank === 0 && this.isLogged(step))
      addLine(run.options.outputDir, 'metrics.jsonl', JSON.stringify({ epoch: state.epoch, step, ...values }));
  }

  /** Ends the log of a complete epoch, and says which rows of all ranks were not as they should be. */
  end(): void {
    this.loop.end();
    const { ranks, print } = this.run;
    const odd = ranks.gatherValues(this.#odd);
    const unread = odd.flatMap((own) => own.unread);
    if (unread.length > 0)
      print(
        `${unread.length} rows of this epoch had an image that could not be read and was replaced by grey. The first is ${unread[0]}.`,
      );
    const withoutNegative = odd.reduce((sum, own) => sum + own.withoutNegative, 0);
    if (withoutNegative > 0)
      print(
        `${withoutNegative} rows of this epoch had no negative: every other row of their batch shows the same image.`,
      );
  }
}
