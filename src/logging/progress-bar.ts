// A progress bar on a terminal: one line, drawn over and over, with the time left at the pace so far.
import { pythonDuration } from './python-format.js';

/** What the bar writes to: a terminal, or something that looks like one in a test. */
export interface ProgressStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface ProgressOptions {
  stream: ProgressStream;
  /** Milliseconds of a clock that does not jump. */
  now?: () => number;
  /** Without colour; NO_COLOR decides by default. */
  plain?: boolean;
  /** Shows the pace, in this unit: `images/s`. */
  rate?: string;
}

/** Milliseconds between two drawings: more often is noise, and costs time on a slow terminal. */
const REDRAW_MS = 100;
const BAR_CELLS = 24;

/** Whether a bar may be drawn: a terminal that can move its cursor. */
export function canDrawProgress(stream: ProgressStream, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && env.TERM !== 'dumb';
}

/** Whether NO_COLOR is set and not empty (no-color.org). */
export function noColor(env: NodeJS.ProcessEnv = process.env): boolean {
  return Boolean(env.NO_COLOR);
}

/** One bar: `update` as work is done, `finish` once. */
export class ProgressBar {
  readonly #label: string;
  readonly #total: number;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #plain: boolean;
  readonly #rate: string | undefined;
  readonly #start: number;
  #drawn = Number.NEGATIVE_INFINITY;

  /** @param total units of work, 1 or more */
  constructor(label: string, total: number, options: ProgressOptions) {
    this.#label = label;
    this.#total = total;
    this.#stream = options.stream;
    this.#now = options.now ?? (() => performance.now());
    this.#plain = options.plain ?? noColor();
    this.#rate = options.rate;
    this.#start = this.#now();
  }

  /** Draws the bar if it is time to. @param done units done so far */
  update(done: number): void {
    const now = this.#now();
    if (now - this.#drawn < REDRAW_MS && done < this.#total) return;
    this.#drawn = now;
    const share = this.#total > 0 ? Math.min(1, done / this.#total) : 1;
    const elapsed = (now - this.#start) / 1000;
    const left = done > 0 ? `eta ${pythonDuration((elapsed / done) * (this.#total - done))}` : 'eta -:--:--';
    const filled = Math.round(share * BAR_CELLS);
    const full = '#'.repeat(filled);
    const bar = `[${this.#plain ? full : `\x1b[32m${full}\x1b[0m`}${'.'.repeat(BAR_CELLS - filled)}]`;
    const count = `${Math.floor(share * 100)}%`.padStart(4);
    const pace = this.#rate && done > 0 && elapsed > 0 ? `${(done / elapsed).toFixed(1)} ${this.#rate}  ` : '';
    const text = `${count}  ${done}/${this.#total}  ${pace}${left}  elapsed ${pythonDuration(elapsed)}`;
    // A line that wraps cannot be drawn over, so a narrow terminal gets no bar.
    const { columns = 80 } = this.#stream;
    const wide = this.#label.length + BAR_CELLS + text.length + 4 < columns;
    this.#stream.write(`\r\x1b[2K${wide ? `${this.#label} ${bar} ${text}` : text.slice(0, columns - 1)}`);
  }

  /** Clears the line, so that the next print starts on it. */
  finish(): void {
    this.#stream.write('\r\x1b[2K');
  }
}
