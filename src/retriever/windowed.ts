// Work in bounded numbers: permits for what takes memory or connections, and lists that are worked off a window at a time.
import { setMaxListeners } from 'node:events';

/** At most `count` holders at a time; others wait in the order they came. */
export class Permits {
  #free: number;
  readonly #line: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Waits for a permit. @returns what gives it back; a second call of that does nothing. @throws the reason of `signal` */
  async take(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(signal);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const next = this.#line.shift();
      if (next === undefined) this.#free += 1;
      else next(); // the permit passes on
    };
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const next = () => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        this.#line.splice(this.#line.indexOf(next), 1);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#line.push(next);
    });
  }
}

/**
 * Runs `body` with a controller whose signal is aborted when one of `signals` is; any number of jobs may listen to it. In
 * place of AbortSignal.any: that of Node 20 remembers whatever was made of a signal as long as the signal lives.
 */
export async function withSignals<T>(
  signals: readonly (AbortSignal | undefined)[],
  body: (either: AbortController) => Promise<T>,
): Promise<T> {
  const either = new AbortController();
  setMaxListeners(0, either.signal); // Node warns of the eleventh
  const stops = signals.map((signal) => {
    if (signal === undefined) return () => {};
    const stop = () => either.abort(signal.reason);
    if (signal.aborted) stop();
    setMaxListeners(0, signal);
    signal.addEventListener('abort', stop, { once: true });
    return () => signal.removeEventListener('abort', stop);
  });
  try {
    return await body(either);
  } finally {
    for (const forget of stops) forget();
  }
}

/** Elements after which a long loop lets the event loop turn: a few milliseconds. */
const ELEMENTS_AT_ONCE = 10_000;

/** Calls `visit` with every element; the event loop turns now and then. @throws what `visit` throws */
export async function visitAll<T>(items: readonly T[], visit: (item: T, index: number) => void): Promise<void> {
  for (const [index, item] of items.entries()) {
    if (index > 0 && index % ELEMENTS_AT_ONCE === 0) await new Promise(setImmediate);
    visit(item, index);
  }
}

/**
 * `map` of every item, in their order, with at most `window` under way at a time. The first failure is thrown, and aborts
 * the signal that the others have; `signal` aborts it, too.
 */
export async function mapWindow<T, R>(
  items: readonly T[],
  window: number,
  map: (item: T, index: number, signal: AbortSignal) => Promise<R>,
  signal?: AbortSignal,
): Promise<R[]> {
  const results: R[] = new Array(items.length);
  const rest = items.entries(); // shared: each runner takes the next
  await withSignals([signal], async (either) => {
    const runner = async () => {
      for (const [index, item] of rest) {
        either.signal.throwIfAborted();
        results[index] = await map(item, index, either.signal);
      }
    };
    try {
      await Promise.all(Array.from({ length: Math.min(window, items.length) }, runner));
    } catch (error) {
      either.abort(error);
      throw error;
    }
  });
  return results;
}
