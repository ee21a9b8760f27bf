// Requests that compute: how many there may be, and how long the next should wait.
import { HttpError } from './http-error.js';

export class WorkQueue {
  readonly #limit: number;
  #active = 0;
  #recentSeconds = 1; // of a request, a moving average

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Requests that compute or wait to compute. */
  get active(): number {
    return this.#active;
  }

  /** @throws HttpError 429 with Retry-After where there are as many as may be */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#active >= this.#limit) {
      const wait = Math.min(60, Math.max(1, Math.ceil(this.#recentSeconds)));
      throw new HttpError(429, `${this.#active} requests are before this one, and no more may wait. Try again later.`, {
        'Retry-After': String(wait),
      });
    }
    this.#active += 1;
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.#active -= 1;
      this.#recentSeconds += 0.2 * ((performance.now() - start) / 1000 - this.#recentSeconds);
    }
  }
}
