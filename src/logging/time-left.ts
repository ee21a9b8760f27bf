// How long a loop will still take, from how it went lately: slow first steps and the steps of an earlier run do not count.

/** Work between two samples that are kept, as a share of all. */
const GRAIN = 1 / 600;
/** The share of what is done that counts, the latest: what began slowly has gone by, and one slow step weighs little. */
const RECENT = 2 / 3;

interface Sample {
  seconds: number;
  work: number;
}

/** Estimates from the pace of the latest two thirds of what was done. The first step never counts: it is often the slowest. */
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

  /** Where the pace is measured from; undefined before there are two steps. */
  #base(): Sample | undefined {
    const [begun, ...later] = this.#samples;
    if (begun === undefined || this.#steps < 2) return undefined;
    const from = begun.work + (this.#latest.work - begun.work) * (1 - RECENT);
    return later.findLast(({ work }) => work <= from) ?? later[0];
  }

  /** Work done in a second lately; undefined before there are two steps. */
  get rate(): number | undefined {
    const base = this.#base();
    if (base === undefined) return undefined;
    const seconds = this.#latest.seconds - base.seconds;
    return seconds > 0 ? (this.#latest.work - base.work) / seconds : undefined;
  }

  /** Seconds until all is done; undefined before there are two steps. */
  get seconds(): number | undefined {
    const { rate } = this;
    return rate === undefined || rate === 0 ? undefined : (this.#total - this.#latest.work) / rate;
  }
}
