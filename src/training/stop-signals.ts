// Signals while a run trains: noted, so that the run can save at the end of a step before it stops.
import { type StopSignal, stopSignals } from '../distributed/signals.js';

/** Signals are noted when the event loop turns. A second one, once the first was noted, ends the process at once. */
export class StopSignals {
  #caught: StopSignal | undefined;
  readonly #handlers = stopSignals().map((signal) => ({
    signal,
    handler: () => {
      this.#caught ??= signal;
    },
  }));

  /** The first signal that came while they were watched. */
  get caught(): StopSignal | undefined {
    return this.#caught;
  }

  watch(): void {
    for (const { signal, handler } of this.#handlers) process.once(signal, handler);
  }

  /** From here on a signal ends the process at once, even inside native code. */
  release(): void {
    for (const { signal, handler } of this.#handlers) process.off(signal, handler);
  }
}
