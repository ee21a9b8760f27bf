// Long loops on the main thread, in slices between which the event loop turns.

/** A slice: calls that come in meanwhile are served after it. */
const SLICE_MS = 5;

/** Whether a loop has had its slice. Looking at the clock costs little, but not nothing: a loop may ask every few rounds. */
export class Turns {
  #started = performance.now();

  /** Undefined while the slice lasts, else a promise to await: the event loop turns, and `signal` is looked at. */
  rest(signal?: AbortSignal): Promise<void> | undefined {
    return performance.now() - this.#started < SLICE_MS ? undefined : this.#turn(signal);
  }

  async #turn(signal?: AbortSignal): Promise<void> {
    await new Promise(setImmediate);
    signal?.throwIfAborted();
    this.#started = performance.now();
  }
}

/**
 * What `run` makes of each item, in their order, with at most `window` under way. A failure ends it; the others are let run
 * out unseen.
 */
export async function* inWindow<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  window: number,
  run: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const underWay: Promise<R>[] = [];
  try {
    for await (const item of items) {
      underWay.push(run(item));
      const first = underWay[0];
      if (first === undefined || underWay.length < window) continue;
      yield await first;
      underWay.shift();
    }
    for (let first = underWay[0]; first !== undefined; first = underWay[0]) {
      yield await first;
      underWay.shift();
    }
  } finally {
    for (const promise of underWay) promise.catch(() => undefined);
  }
}
