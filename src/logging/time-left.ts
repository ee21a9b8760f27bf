// How long a loop will still take, from how it went: slow first steps, a pace that is over and the steps of an earlier run do
// not count.

/** Work between two samples that are kept, as a share of all. */
const GRAIN = 1 / 600;
/** The older part of what counts is left out when the pace without it is another one than with it, by more than this. */
const OLDER = 1 / 3;
const DIFFERENCE = 0.15;
/** Fewer samples than these are no pace of their own: steps differ. */
const LEAST = 3;

interface Sample {
  seconds: number;
  work: number;
}

/**
 * Estimates from the pace of all steps but the first, which is often the slowest: the more steps count, the less one of
 * them matters. If the pace has changed, only the later ones count.
 */
export class TimeLeft {
  readonly #total: number;
  readonly #samples: Sample[];
  #steps = 0;
  #latest: Sample;

  /**
   * @param total all work, in any unit @param done work that an earlier run has done @param now seconds of a clock that does
   * not jump
   */
  constructor(total: number, done: number, now: number) {
    this.#total = total;
    this.#latest = { seconds: now, work: done };
    this.#samples = [this.#latest];
  }

  /** @param done work done by now, that of an earlier run included */
  update(done: number, now: number): void {
    this.#latest = { seconds: now, work: done };
    this.#steps += 1;
    const kept = this.#samples.at(-1);
    if (this.#steps === 1 || kept === undefined || done - kept.work >= this.#total * GRAIN)
      this.#samples.push(this.#latest);
  }

  /** Work in a second from that sample to the latest; undefined where the clock stood still. */
  #rateSince(base: Sample): number | undefined {
    const seconds = this.#latest.seconds - base.seconds;
    return seconds > 0 ? (this.#latest.work - base.work) / seconds : undefined;
  }

  /** Work done in a second lately; undefined before there are two steps. */
  get rate(): number | undefined {
    const samples = this.#samples;
    let base = samples[1];
    if (base === undefined || this.#steps < 2) return undefined;
    let rate = this.#rateSince(base);
    for (;;) {
      const { work } = base;
      const split = work + (this.#latest.work - work) * OLDER;
      const next = samples.findLastIndex((sample) => sample.work <= split);
      const later = samples[next];
      if (later === undefined || later === base || samples.length - next < LEAST) return rate;
      const laterRate = this.#rateSince(later);
      if (rate === undefined || laterRate === undefined || Math.abs(laterRate / rate - 1) <= DIFFERENCE) return rate;
      [base, rate] = [later, laterRate];
    }
  }

  /** Seconds until all is done; undefined before there are two steps. */
  get seconds(): number | undefined {
    const { rate } = this;
    return rate === undefined || rate === 0 ? undefined : (this.#total - this.#latest.work) / rate;
  }
}
