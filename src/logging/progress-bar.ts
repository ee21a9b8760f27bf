// A progress bar on a terminal: one line, drawn over and over: what is done, how fast, and the time left. It never wraps, and
// keeps its label, however narrow the terminal is.
import { pythonDuration } from './python-format.js';
import { TimeLeft } from './time-left.js';
import { cutEnd, widthOf } from './width.js';

/** What the bar writes to: a terminal, or something that looks like one in a test. */
export interface ProgressStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
  /** The width and height now; `columns` is that of the event loop's last turn. */
  getWindowSize?(): [columns: number, rows: number];
}

export interface ProgressOptions {
  stream: ProgressStream;
  /** Milliseconds of a clock that does not jump. */
  now?: () => number;
  /** Without colour; NO_COLOR decides by default. */
  plain?: boolean;
  /** What a second brings: `images`; nothing is said of the pace where it is left out. */
  unit?: string;
  /** How many of them go through in one unit of the bar; 1 by default. */
  each?: number;
  /** Units that an earlier run has done. */
  done?: number;
  /** All work, where units differ in it: `update` then says how much is done. */
  work?: number;
}

/** Milliseconds between two drawings: more often is noise, and costs time on a slow terminal. */
const REDRAW_MS = 100;
/** Columns left free at the end: Ctrl-C puts ^C there, and the cursor needs one. */
const SPARE = 3;
/**
 * What is drawn in between does not go on in the next line where the terminal is narrower than it says: some tell a new width
 * a quarter of a second late, and every drawing until then would leave a line.
 */
const [UNWRAPPED, WRAPPED] = ['\x1b[?7l', '\x1b[?7h'];
const MOST_CELLS = 30;
const LEAST_CELLS = 10;

/** Whether a bar may be drawn: a terminal that can move its cursor. */
export function canDrawProgress(stream: ProgressStream, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && env.TERM !== 'dumb';
}

/** Whether NO_COLOR is set and not empty (no-color.org). */
export function noColor(env: NodeJS.ProcessEnv = process.env): boolean {
  return Boolean(env.NO_COLOR);
}

/** Columns of a terminal at this moment; 80 where nobody knows. */
export function columnsOf(stream: ProgressStream): number {
  const [now] = stream.getWindowSize?.() ?? [];
  const columns = now || stream.columns; // some terminals say 0
  return columns || 80;
}

/** `12.3 images/s`, or `4.2 s/image` where one takes longer than a second. */
export function paceText(perSecond: number, unit: string): string {
  if (perSecond < 1) return `${(1 / perSecond).toFixed(1)} s/${unit.replace(/s$/, '')}`;
  return `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)} ${unit}/s`;
}

/** What a bar shows. */
interface Shown {
  label: string;
  share: number;
  count: string;
  pace: string;
  eta: string;
}

/** The line for a terminal: the most that fits into `width` columns. `plain` is without colour. */
function lineOf({ label, share, count, pace, eta }: Shown, width: number, plain: boolean): string {
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  const tail = (...parts: string[]) => [percent, ...parts.filter((part) => part !== '')].join('  ');
  const endings = [tail(count, pace, eta), tail(pace, eta), tail(eta)];
  for (const ending of endings) {
    const cells = Math.min(MOST_CELLS, width - widthOf(label) - ending.length - 4);
    if (cells < LEAST_CELLS) continue;
    const filled = Math.round(share * cells);
    const full = '#'.repeat(filled);
    return `${label} [${plain ? full : `\x1b[32m${full}\x1b[0m`}${'.'.repeat(cells - filled)}] ${ending}`;
  }
  const ending = [tail(eta), percent].find((text) => widthOf(label) + 1 + text.length <= width) ?? percent;
  return `${cutEnd(label, width - 1 - ending.length)} ${ending}`;
}

/** One bar: `update` as work is done, `finish` once. */
export class ProgressBar {
  readonly #label: string;
  readonly #total: number;
  readonly #work: number;
  readonly #options: ProgressOptions;
  readonly #now: () => number;
  readonly #left: TimeLeft;
  readonly #start: number;
  #drawn = Number.NEGATIVE_INFINITY;
  #length = 0;
  #units: number;

  /** @param total units of work, 1 or more */
  constructor(label: string, total: number, options: ProgressOptions) {
    const { done = 0, work = total, now = () => performance.now() } = options;
    this.#label = label;
    this.#total = total;
    this.#work = work;
    this.#options = options;
    this.#now = now;
    this.#start = now();
    this.#units = done;
    this.#left = new TimeLeft(work, work === total ? done : 0, this.#start / 1000);
  }

  /** Draws the bar if it is time to. @param done units done so far @param work work done so far, where units differ in it */
  update(done: number, work = done): void {
    const now = this.#now();
    if (done > this.#units) this.#left.update(work, now / 1000);
    this.#units = done;
    if (now - this.#drawn < REDRAW_MS && done < this.#total) return;
    this.#drawn = now;
    const { stream, unit, each = 1, plain = noColor() } = this.#options;
    const { seconds } = this.#left;
    const elapsed = (now - this.#start) / 1000;
    const perSecond = (each * (done - (this.#options.done ?? 0))) / elapsed;
    const line = {
      label: this.#label,
      share: this.#work > 0 ? Math.min(1, work / this.#work) : 1,
      count: `${done}/${this.#total}`,
      pace: unit === undefined || seconds === undefined || !(perSecond > 0) ? '' : paceText(perSecond, unit),
      eta: `eta ${seconds === undefined ? '-:--:--' : pythonDuration(seconds)}`,
    };
    const text = lineOf(line, columnsOf(stream) - SPARE, plain);
    stream.write(`${this.#clearing()}${UNWRAPPED}${text}${WRAPPED}`);
    this.#length = widthOf(text) - (plain || !text.includes('\x1b') ? 0 : widthOf('\x1b[32m\x1b[0m'));
  }

  /** What clears the last drawing. A terminal that became narrower has broken it into several lines. */
  #clearing(): string {
    const columns = columnsOf(this.#options.stream);
    const above = Math.floor(Math.max(0, this.#length - 1) / columns);
    return above === 0 ? '\r\x1b[2K' : `\r\x1b[${above}A\x1b[J`;
  }

  /** Clears the line, so that the next print starts on it. */
  finish(): void {
    this.#options.stream.write(this.#clearing());
    this.#length = 0;
  }
}
