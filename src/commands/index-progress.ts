// How an indexing goes on: a bar on a terminal, else a line now and then.
import { canDrawProgress, ProgressBar, type ProgressStream } from '../logging/progress-bar.js';
import { pythonDuration } from '../logging/python-format.js';
import { counted } from '../logging/text.js';

/** Milliseconds between two lines where no bar can be drawn. */
const LINE_MS = 30_000;

export class IndexProgress {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  #bar: ProgressBar | undefined;
  #start: number | undefined;
  #told = 0;

  /** @param now milliseconds of a clock that does not jump */
  constructor(stream: ProgressStream, now = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
  }

  /** @param total images that are new or changed */
  update(done: number, total: number): void {
    if (total === 0) return;
    const now = this.#now();
    this.#start ??= now;
    if (canDrawProgress(this.#stream)) {
      this.#bar ??= new ProgressBar('images', total, { stream: this.#stream, now: this.#now, unit: 'images' });
      this.#bar.update(done);
    } else if (now - Math.max(this.#told, this.#start) >= LINE_MS && done > 0) {
      this.#told = now;
      const elapsed = (now - this.#start) / 1000;
      const left = pythonDuration((elapsed / done) * (total - done));
      this.#stream.write(
        `${done} of ${counted(total, 'image')}, ${(done / elapsed).toFixed(1)} images/s, eta ${left}\n`,
      );
    }
  }

  /** Clears the bar. */
  finish(): void {
    this.#bar?.finish();
    this.#bar = undefined;
  }
}
