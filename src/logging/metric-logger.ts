// Smoothed metrics and the log lines of a loop over batches, as the reference's MetricLogger prints them.
import { canDrawProgress, ProgressBar, type ProgressStream, paceText } from './progress-bar.js';
import { pythonDuration, pythonFixed } from './python-format.js';

/** Between the fields of a line. */
const DELIMITER = '  ';

/** How a SmoothedValue is printed. */
export type MeterFormat = (value: SmoothedValue) => string;

/** `{median:.4f} ({global_avg:.4f})`, the reference's default. */
export const medianAndAverage: MeterFormat = (meter) =>
  `${pythonFixed(meter.median, 4)} (${pythonFixed(meter.globalAverage, 4)})`;

/** `{value:.Nf}`: the last value. */
export function lastValue(digits: number): MeterFormat {
  return (meter) => pythonFixed(meter.value, digits);
}

/** A series of numbers: its last values (20 by default) and the average of all. */
export class SmoothedValue {
  readonly #window: number[] = [];
  readonly #size: number;
  readonly #format: MeterFormat;
  total = 0;
  count = 0;

  constructor(options: { windowSize?: number; format?: MeterFormat } = {}) {
    this.#size = options.windowSize ?? 20;
    this.#format = options.format ?? medianAndAverage;
  }

  /** @param n how many samples `value` is the mean of */
  update(value: number, n = 1): void {
    this.#window.push(value);
    if (this.#window.length > this.#size) this.#window.shift();
    this.count += n;
    this.total += value * n;
  }

  /** Median of the window, the lower of the two middle values, in float32 as torch.median gives it. */
  get median(): number {
    const sorted = [...this.#window].sort((a, b) => a - b);
    return Math.fround(sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN);
  }

  /** Mean of the window. */
  get average(): number {
    return this.#window.reduce((sum, value) => sum + value, 0) / this.#window.length;
  }

  /** Mean of every value since the start. */
  get globalAverage(): number {
    return this.total / this.count;
  }

  get max(): number {
    return Math.max(...this.#window);
  }

  /** The last value; like every statistic, NaN before the first. */
  get value(): number {
    return this.#window.at(-1) ?? Number.NaN;
  }

  toString(): string {
    return this.#format(this);
  }
}

export interface MetricLoggerOptions {
  /** Where a line goes; console.log by default. */
  print?: (line: string) => void;
  /** The terminal for a progress bar; a bar replaces the lines when it is one. */
  stream?: ProgressStream;
  /** Neither lines nor bar. */
  quiet?: boolean;
  /** Most bytes of device memory used so far; given only on CUDA, where the reference prints it too. */
  maxMemory?: () => number;
  /** Seconds of a clock that does not jump. */
  now?: () => number;
  /** Where one line goes for each loop that has ended, instead of the reference's lines: `100 images/s`. */
  ended?: (label: string, seconds: number, pace: string) => void;
}

/** How a loop is shown on a terminal. */
export interface LoopShown {
  /** By default the header. */
  label?: string;
  /** What its steps consist of, `images`, and how many each has. */
  unit?: string;
  each?: number;
  /** All work, where steps differ in it: `step` then says how much each was. */
  work?: number | undefined;
}

/** Meters by name, and the lines or the bar of the loops that feed them. */
export class MetricLogger {
  readonly meters = new Map<string, SmoothedValue>();
  readonly #options: MetricLoggerOptions;

  constructor(options: MetricLoggerOptions = {}) {
    this.#options = options;
  }

  addMeter(name: string, meter: SmoothedValue): void {
    this.meters.set(name, meter);
  }

  /** Adds one value to each named meter, which is made where the name is new. */
  update(values: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(values)) {
      let meter = this.meters.get(name);
      if (meter === undefined) {
        meter = new SmoothedValue();
        this.meters.set(name, meter);
      }
      meter.update(value);
    }
  }

  /** `loss_itm: 0.6931 (0.6935)  loss_ita: …`. */
  toString(): string {
    return [...this.meters].map(([name, meter]) => `${name}: ${meter}`).join(DELIMITER);
  }

  /** `loss_itm: 0.6935  loss_ita: …`: the averages since the start. */
  globalAverage(): string {
    return [...this.meters].map(([name, meter]) => `${name}: ${pythonFixed(meter.globalAverage, 4)}`).join(DELIMITER);
  }

  /**
   * Starts the log of a loop of `total` steps. Call `dataReady` when a step's input is there and `step` when the step
   * is done; a line is printed every `printFreq` steps and at the last, and `end` prints the total time. `done` steps
   * were done before, by the run that this one resumes.
   */
  start(header: string, total: number, printFreq = 50, done = 0, shown: LoopShown = {}): LoggedLoop {
    return new LoggedLoop(this, header, total, printFreq, this.#options, done, shown);
  }
}

/** What a loop tells of its progress; a program may bring its own. */
export type LoopLog = Pick<LoggedLoop, 'dataReady' | 'step' | 'end' | 'abort'>;

/** The log of one loop, made by MetricLogger.start. */
export class LoggedLoop {
  readonly #logger: MetricLogger;
  readonly #header: string;
  readonly #total: number;
  readonly #printFreq: number;
  readonly #options: MetricLoggerOptions;
  readonly #now: () => number;
  readonly #stepTime = new SmoothedValue();
  readonly #dataTime = new SmoothedValue();
  readonly #bar: ProgressBar | undefined;
  readonly #start: number;
  readonly #shown: LoopShown;
  readonly #doneBefore: number;
  #work = 0;
  #mark: number;
  #waited = false;
  #done: number;

  constructor(
    logger: MetricLogger,
    header: string,
    total: number,
    printFreq: number,
    options: MetricLoggerOptions,
    done = 0,
    shown: LoopShown = {},
  ) {
    this.#done = this.#doneBefore = done;
    this.#shown = shown;
    this.#logger = logger;
    this.#header = header;
    this.#total = total;
    this.#printFreq = printFreq;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now() / 1000);
    const { stream } = options;
    if (options.quiet !== true && stream !== undefined && canDrawProgress(stream) && total > 0) {
      const { label = header, work, ...pace } = shown;
      const clock = { now: () => this.#now() * 1000, done };
      this.#bar = new ProgressBar(label, total, { stream, ...clock, ...pace, ...(work !== undefined && { work }) });
      this.#bar.update(done, work === undefined ? done : 0);
    }
    this.#start = this.#now();
    this.#mark = this.#start;
  }

  /** The input of the next step is there. */
  dataReady(): void {
    this.#dataTime.update(this.#now() - this.#mark);
    this.#waited = true;
  }

  /** `count` steps are done: rows that were scored together share the time equally. `work` is theirs, where steps differ. */
  step(count = 1, work = 0): void {
    const now = this.#now();
    if (!this.#waited) this.#dataTime.update(0);
    for (let i = 0; i < count; i++) {
      this.#stepTime.update((now - this.#mark) / count);
      const index = this.#done++;
      if (index % this.#printFreq === 0 || index === this.#total - 1) this.#print(this.#line(index));
    }
    this.#work += work;
    this.#bar?.update(this.#done, this.#shown.work === undefined ? this.#done : this.#work);
    this.#waited = false;
    this.#mark = now;
  }

  /** Prints the total time. */
  end(): void {
    this.#bar?.finish();
    if (this.#options.quiet) return;
    const seconds = this.#now() - this.#start;
    const { ended } = this.#options;
    if (ended !== undefined) {
      const { label = this.#header, unit, each = 1 } = this.#shown;
      const perSecond = (each * (this.#done - this.#doneBefore)) / seconds;
      ended(label, seconds, unit !== undefined && perSecond > 0 ? paceText(perSecond, unit) : '');
      return;
    }
    const each = pythonFixed(seconds / Math.max(1, this.#total), 4);
    (this.#options.print ?? console.log)(`${this.#header} Total time: ${pythonDuration(seconds)} (${each} s / it)`);
  }

  /** Removes the bar when the loop ends with an error. */
  abort(): void {
    this.#bar?.finish();
  }

  #print(line: string): void {
    if (this.#options.quiet || this.#bar !== undefined || this.#options.ended !== undefined) return;
    (this.#options.print ?? console.log)(line);
  }

  #line(index: number): string {
    const total = String(this.#total);
    const fields = [
      this.#header,
      `[${String(index).padStart(total.length)}/${total}]`,
      `eta: ${pythonDuration(this.#stepTime.globalAverage * (this.#total - index))}`,
      String(this.#logger),
      `time: ${pythonFixed(this.#stepTime.average, 4)}`,
      `data: ${pythonFixed(this.#dataTime.average, 4)}`,
    ];
    const { maxMemory } = this.#options;
    if (maxMemory !== undefined) fields.push(`max mem: ${pythonFixed(maxMemory() / 2 ** 20, 0)}`);
    return fields.join(DELIMITER);
  }
}
