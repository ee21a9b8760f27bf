// Signals while something runs that is to come to a good end: noted, so that it can save before it stops.
import { SAME_SIGNAL_MS, type StopSignal, stopSignals } from '../distributed/signals.js';
import { type EndingSignal, STOPPED, setLastWords } from '../libtorch/last-words.js';

export interface StopOptions {
  /** What the terminal says at once, whatever computes, when a signal is noted; by default nothing. */
  noted?: (signal: EndingSignal) => string;
  /** Called when the event loop turns after a signal was noted. */
  onCaught?: (signal: StopSignal) => void;
}

/** The first signal is noted, and seen when the event loop turns. A second one ends the process at once. */
export class StopSignals {
  #caught: StopSignal | undefined;
  #at = 0;
  readonly #options: StopOptions;
  readonly #handlers = stopSignals().map((signal) => ({ signal, handler: () => this.#handle(signal) }));

  constructor(options: StopOptions = {}) {
    this.#options = options;
  }

  /** The first signal that came while they were watched. */
  get caught(): StopSignal | undefined {
    return this.#caught;
  }

  watch(): void {
    for (const { signal, handler } of this.#handlers) process.on(signal, handler);
    const { noted } = this.#options;
    if (noted !== undefined) setLastWords({ ...STOPPED, noted });
  }

  /** From here on a signal ends the process at once, even inside native code. */
  release(): void {
    for (const { signal, handler } of this.#handlers) process.off(signal, handler);
  }

  #handle(signal: StopSignal): void {
    const now = performance.now();
    if (this.#caught === undefined) {
      this.#caught = signal;
      this.#at = now;
      this.#options.onCaught?.(signal);
    } else if (now - this.#at >= SAME_SIGNAL_MS) {
      this.release();
      process.kill(process.pid, signal);
    }
  }
}
